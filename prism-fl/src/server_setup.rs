//! The server before the first round: it asks every client, phase by phase, and adds up what comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prism_core::{Error, file};
use prism_nn::Result;
use serde::{Deserialize, Serialize};

use crate::context::RunContext;
use crate::exchange::Exchange;
use crate::moments::ClientMoments;
use crate::moments::combine::combine;
use crate::moments::file::{load_moments, save_moments};
use crate::moments::message::Message;
use crate::privacy::message::MessageSum;
use crate::secagg::{self, Plan, Purpose, SecureSum, Stage, Standing};
use crate::setup::{self, Phase, Request};
use crate::strata::Thresholds;

/// Most bytes of a kept sum.
const MAX_SUM: u64 = 1 << 32;

/// What is agreed so far, and the phase that goes on.
pub struct ServerSetup {
    folder: PathBuf,
    phases: Vec<Phase>,
    done: Done,
    /// Replies of the present phase.
    collected: Collected,
    answered: Vec<u32>,
}

/// What came of finished phases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Done {
    /// Number of finished phases.
    phases: usize,
    thresholds: Thresholds,
    /// Bytes that clients sent.
    bytes: u64,
}

enum Collected {
    Nothing,
    /// Sums that do not depend on the order of their terms.
    Integers(MessageSum),
    /// A secure sum, once its first exchange has begun.
    Secure(Purpose, Option<Box<SecureSum>>),
    /// Messages of moments, without noise or noisy each by itself.
    Moments(BTreeMap<u32, Vec<u8>>),
}

impl ServerSetup {
    /// The setup in `folder`: as it was left, or new.
    ///
    /// # Errors
    /// If the folder holds a damaged one.
    pub fn open(context: &RunContext, folder: &Path) -> Result<Self> {
        let path = folder.join("setup.json");
        let done: Done = match path.exists() {
            false => Done::default(),
            true => serde_json::from_slice(&file::read_bounded(&path, 1 << 24)?)
                .map_err(|e| Error::corrupt(path.display().to_string(), e.to_string()))?,
        };
        if done.phases > 0 {
            setup::check_thresholds(&done.thresholds, context)?;
        }
        let (folder, phases) = (folder.to_path_buf(), Phase::all_of(context));
        let mut setup = ServerSetup { folder, phases, done, collected: Collected::Nothing, answered: Vec::new() };
        setup.collected = setup.begin(context)?;
        Ok(setup)
    }

    /// The phase that goes on; none once all is agreed.
    pub fn phase(&self) -> Option<Phase> {
        self.phases.get(self.done.phases).copied()
    }

    /// Bytes that clients have sent in finished phases.
    pub fn bytes(&self) -> u64 {
        self.done.bytes
    }

    /// The clients that have answered in the present phase.
    pub fn answered(&self) -> &[u32] {
        &self.answered
    }

    /// The exchange that goes on; none once all is agreed. A secure sum begins here, again where it has failed.
    ///
    /// # Errors
    /// If a secure sum has no list of peers, or the folder cannot be read or written.
    pub fn exchange(&mut self, context: &RunContext) -> Result<Option<Exchange>> {
        let Some(phase) = self.phase() else { return Ok(None) };
        let all: Vec<u32> = (0..context.agreement().settings.federation.clients).collect();
        let Collected::Secure(purpose, sum) = &mut self.collected else {
            return Ok(Some(Exchange { title: phase.name().into(), clients: all }));
        };
        if let Some(sum) = sum {
            sum.retry();
        }
        let sum = match sum {
            Some(sum) if !matches!(sum.standing(), Standing::Failed(_)) => sum,
            _ => sum.insert(Box::new(begin_sum(context, &self.folder, *purpose, all)?)),
        };
        if let Standing::Open(stage) = sum.standing() {
            let title = format!("{}: {}", phase.name(), stage.name());
            return Ok(Some(Exchange { title, clients: sum.asked() }));
        }
        // It was opened before the server stopped, so the phase ends without asking anybody.
        self.end(context)?;
        self.exchange(context)
    }

    /// The present request to `client`.
    ///
    /// # Errors
    /// If all is agreed, the client is not asked, or a file of a phase before cannot be read.
    pub fn request(&self, context: &RunContext, client: u32) -> Result<Vec<u8>> {
        let phase = self.phase().ok_or_else(finished)?;
        let mut dealers = Vec::new();
        if let Collected::Secure(_, sum) = &self.collected {
            let sum = sum.as_ref().ok_or_else(|| Error::usage("no exchange goes on; ask for it first"))?;
            if *sum.standing() != Standing::Open(Stage::Input) {
                return Ok(sum.request(client)?);
            }
            dealers = sum.dealers();
        }
        if phase == Phase::Start {
            return self.start_request(context);
        }
        let thresholds = self.done.thresholds.clone();
        Request { phase, thresholds, sum: Vec::new(), dealers }.encode(context.agreement())
    }

    /// What every client takes before its first round, also for one that has missed or lost it since.
    ///
    /// # Errors
    /// If the sum of the clients' moments cannot be read.
    fn start_request(&self, context: &RunContext) -> Result<Vec<u8>> {
        let sum = match context.shares_moments() {
            true => file::read_bounded(&self.sum_path(), MAX_SUM)?,
            false => Vec::new(),
        };
        let (phase, thresholds) = (Phase::Start, self.done.thresholds.clone());
        Request { phase, thresholds, sum, dealers: Vec::new() }.encode(context.agreement())
    }

    /// The same once all is agreed; none where clients take nothing.
    ///
    /// # Errors
    /// If the sum of the clients' moments cannot be read.
    pub fn restart_request(&self, context: &RunContext) -> Result<Option<Vec<u8>>> {
        let due = self.phase().is_none() && self.phases.contains(&Phase::Start);
        due.then(|| self.start_request(context)).transpose()
    }

    /// Adds the reply of a client.
    ///
    /// # Errors
    /// If it has answered already, or the reply is not one of this phase; nothing is then added.
    pub fn accept(&mut self, context: &RunContext, client: u32, reply: &[u8]) -> Result<()> {
        if self.answered.contains(&client) {
            return Err(Error::corrupt("a setup message", format!("client {client} has already answered")).into());
        }
        if self.phase().is_none() {
            return Err(finished());
        }
        match &mut self.collected {
            Collected::Nothing => setup::check_acknowledgement(reply)?,
            Collected::Integers(sum) => sum.add(reply)?,
            Collected::Secure(_, Some(sum)) if *sum.standing() == Standing::Open(Stage::Input) => {
                sum.add_input(client, &sum.decode_input(reply)?)?;
            }
            Collected::Secure(_, sum) => sum.as_mut().ok_or_else(finished)?.accept(client, reply)?,
            Collected::Moments(messages) => {
                check_moments(context, reply)?;
                messages.insert(client, reply.to_vec());
            }
        }
        self.answered.push(client);
        // Of a secure sum they are counted at its end, whatever was stopped and went on.
        if !matches!(self.collected, Collected::Secure(..)) {
            self.done.bytes += reply.len() as u64;
        }
        Ok(())
    }

    /// Ends the present exchange with the replies that came in, and the phase with its last one.
    ///
    /// # Errors
    /// If nobody answered, too few took part in a secure sum, nothing stands out of the noise, or the folder cannot be written.
    pub fn end(&mut self, context: &RunContext) -> Result<()> {
        let phase = self.phase().ok_or_else(finished)?;
        if let Collected::Secure(purpose, sum) = &mut self.collected {
            let sum = sum.as_mut().ok_or_else(finished)?;
            self.answered.clear();
            let Some(opened) = end_sum(sum, context, *purpose)? else { return Ok(()) };
            self.done.bytes += sum.traffic().0 + sum.input_bytes();
            self.collected = Collected::Integers(opened);
        } else if self.answered.is_empty() {
            let clients = context.agreement().settings.federation.clients;
            return Err(prism_nn::Error::usage(format!(
                "none of {clients} clients answered before the first round; wait for them"
            )));
        }
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("create the folder", &self.folder, e))?;
        match std::mem::replace(&mut self.collected, Collected::Nothing) {
            Collected::Nothing | Collected::Secure(..) => {}
            Collected::Integers(sum) if phase == Phase::Subclasses => {
                let histograms = context.histograms().ok_or_else(finished)?;
                self.done.thresholds = histograms.thresholds(sum);
            }
            Collected::Integers(sum) => self.end_secure_sum(context, sum)?,
            Collected::Moments(messages) => {
                let messages: Vec<&[u8]> = messages.values().map(Vec::as_slice).collect();
                self.save(context, combined_moments(context, &messages)?)?;
            }
        }
        self.done.phases += 1;
        self.answered.clear();
        self.collected = self.begin(context)?;
        let path = self.folder.join("setup.json");
        file::write_atomic(&path, |out| Ok(serde_json::to_writer_pretty(out, &self.done)?))?;
        Ok(secagg::forget(&self.folder)?)
    }

    /// The moments that the server trains on alone; none before the phase that gathers them has ended.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn moments(&self, context: &RunContext) -> Result<Option<ClientMoments>> {
        load_moments(&self.folder, &context.moments_source(String::new()), context.group_count(), context.device())
    }

    fn end_secure_sum(&self, context: &RunContext, sum: MessageSum) -> Result<()> {
        let mechanism = context.mechanism().ok_or_else(finished)?;
        let sum = sum.finish();
        if context.shares_moments() {
            let message = mechanism.encode_sum(&sum);
            file::write_atomic(&self.sum_path(), |out| out.write_all(&message))?;
        }
        self.save(context, mechanism.shared_moments(sum, context.device())?)
    }

    fn save(&self, context: &RunContext, moments: ClientMoments) -> Result<()> {
        save_moments(&self.folder, &context.moments_source(String::new()), &moments.with_sent(self.done.bytes))
    }

    fn sum_path(&self) -> PathBuf {
        self.folder.join("sum.message")
    }

    fn begin(&self, context: &RunContext) -> Result<Collected> {
        if let Some(purpose) = self.phase().and_then(|phase| phase.purpose(context)) {
            return Ok(Collected::Secure(purpose, None));
        }
        Ok(match self.phase() {
            None | Some(Phase::Start) => Collected::Nothing,
            Some(Phase::Subclasses) => Collected::Integers(context.histograms().ok_or_else(finished)?.empty()),
            Some(Phase::Moments) => Collected::Moments(BTreeMap::new()),
        })
    }
}

/// Refuses a message of moments that could not be added to others, or is longer than agreed.
fn check_moments(context: &RunContext, message: &[u8]) -> Result<()> {
    if let Some(mechanism) = context.mechanism() {
        return mechanism.check_message(message, context.group_count());
    }
    let (length, most) = (message.len() as u64, context.agreement().settings.wire.message_size.bytes());
    if length > most {
        let why = format!("it has {length} bytes, and `message-size` is {most}");
        return Err(Error::corrupt("a message of moments", why).into());
    }
    context.moments_form()?.open(message)?.check()
}

/// The moments of all clients' images, whose messages come in the order of the clients.
fn combined_moments(context: &RunContext, messages: &[&[u8]]) -> Result<ClientMoments> {
    if let Some(mechanism) = context.mechanism() {
        return mechanism.combined_moments(messages.iter().copied(), context.group_count(), context.device());
    }
    let form = context.moments_form()?;
    let messages = messages.iter().map(|bytes| form.open(bytes)).collect::<Result<Vec<Message<'_>>>>()?;
    combine(&messages, form.layers.len(), context.device())
}

/// The secure sum of all clients' messages: as it was left where its input was complete, else a new attempt. Every client's input is
/// needed, since each adds its share of the noise.
fn begin_sum(context: &RunContext, folder: &Path, purpose: Purpose, all: Vec<u32>) -> Result<SecureSum> {
    let (terms, shape) = (context.sum_terms(purpose)?, context.empty_sum(purpose).ok_or_else(finished)?.ring_shape());
    let plan = Plan { purpose, round: 0, shape };
    match SecureSum::resume(folder, terms, &plan)? {
        Some(sum) => Ok(sum),
        None => Ok(SecureSum::begin(folder, terms, &plan, all)?),
    }
}

/// Ends an exchange of the secure sum; the sum of all messages after the last one.
fn end_sum(sum: &mut SecureSum, context: &RunContext, purpose: Purpose) -> Result<Option<MessageSum>> {
    if *sum.standing() != Standing::Opened {
        sum.end()?;
    }
    if let Standing::Failed(why) = sum.standing() {
        return Err(prism_nn::Error::usage(format!(
            "the secure sum of {} could not be made: {why}; wait for all clients and try again, or start a federation of fewer",
            purpose.name()
        )));
    }
    let Some(opened) = sum.opened() else { return Ok(None) };
    let mut whole = context.empty_sum(purpose).ok_or_else(finished)?;
    whole.add_numbers(opened.values());
    Ok(Some(whole))
}

fn finished() -> prism_nn::Error {
    prism_nn::Error::usage("everything is agreed that this federation agrees on before its first round")
}
