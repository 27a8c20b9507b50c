//! Before the first round: what all clients must agree on, phase by phase.
//!
//! ```text
//! subclasses   each client sends histograms; their sum has the thresholds        (where classes are divided)
//! moments      each client sends its moments once                                (one-shot, or under a secure sum)
//! start        each client takes the thresholds and the shared moments           (rounds, where there are any)
//! ```
//!
//! A request is the server's message to every client, a reply the client's to it. Under the header of
//! [`crate::moments::envelope`], a request's payload is: length of the JSON (4), JSON, and in `start` under a secure sum the sum
//! of the clients' messages.

use prism_core::Error;
use prism_nn::Result;
use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::context::RunContext;
use crate::moments::envelope::{self, Kind};
use crate::secagg::Purpose;
use crate::strata::Thresholds;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Histograms.
    Subclasses,
    /// Moments.
    Moments,
    /// Nothing: the client takes what came of the phases before.
    Start,
}

impl Phase {
    /// The phases of a federation, in order.
    pub fn all_of(context: &RunContext) -> Vec<Phase> {
        let divides = context.histograms().is_some();
        let gathers = context.is_one_shot() || context.shares_moments();
        let starts = !context.is_one_shot() && (divides || gathers);
        let phases = [(Phase::Subclasses, divides), (Phase::Moments, gathers), (Phase::Start, starts)];
        phases.into_iter().filter_map(|(phase, due)| due.then_some(phase)).collect()
    }

    /// The secure sum that its replies go into; none where they are not summed securely.
    pub fn purpose(self, context: &RunContext) -> Option<Purpose> {
        context.mechanism().filter(|mechanism| mechanism.trust().is_secagg())?;
        match self {
            Phase::Subclasses => Some(Purpose::Histograms),
            Phase::Moments => Some(Purpose::Moments),
            Phase::Start => None,
        }
    }

    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Subclasses => "subclasses",
            Phase::Moments => "moments",
            Phase::Start => "start",
        }
    }
}

/// The server's message to every client in one phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What it asks for.
    pub phase: Phase,
    /// Thresholds between subclasses, once they are known.
    pub thresholds: Thresholds,
    /// In [`Phase::Start`], the secure sum of the clients' moments; empty where there is none.
    pub sum: Vec<u8>,
    /// Where replies go into a secure sum, the clients that have shared keys for it; empty elsewhere.
    pub dealers: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Preface {
    phase: Phase,
    agreement: String,
    thresholds: Thresholds,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dealers: Vec<u32>,
}

impl Request {
    /// The message's bytes.
    ///
    /// # Errors
    /// If a threshold has no JSON form.
    pub fn encode(&self, agreement: &Agreement) -> Result<Vec<u8>> {
        let (thresholds, dealers) = (self.thresholds.clone(), self.dealers.clone());
        let preface = Preface { phase: self.phase, agreement: digest(agreement)?, thresholds, dealers };
        let json = serde_json::to_vec(&preface).map_err(|e| refuse(e.to_string()))?;
        let payload = [&(json.len() as u32).to_le_bytes()[..], &json, &self.sum].concat();
        Ok(envelope::seal(Kind::Setup, &payload))
    }

    /// Reads a request of a server under the same `agreement`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is none, or the server has other settings.
    pub fn decode(bytes: &[u8], context: &RunContext) -> Result<Self> {
        let payload = envelope::open(Kind::Setup, bytes)?;
        let short = || refuse("it is cut short".into());
        let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
        let (json, sum) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
        let preface: Preface = serde_json::from_slice(json).map_err(|e| refuse(e.to_string()))?;
        let own = digest(context.agreement())?;
        if preface.agreement != own {
            return Err(refuse(format!(
                "the server's settings have the digest {} and this client's have {own}: give both sides the same settings",
                preface.agreement
            ))
            .into());
        }
        let Preface { phase, thresholds, dealers, .. } = preface;
        if !Phase::all_of(context).contains(&phase) {
            // A server could otherwise have moments that the settings keep from it.
            return Err(refuse(format!(
                "it asks for {}, which the settings of this federation do not provide for",
                phase.name()
            ))
            .into());
        }
        match phase {
            Phase::Subclasses if thresholds.is_empty() => {}
            Phase::Subclasses => return Err(refuse("it has thresholds before they are agreed on".into()).into()),
            Phase::Moments | Phase::Start => check_thresholds(&thresholds, context)?,
        }
        Ok(Request { phase, thresholds, sum: sum.to_vec(), dealers })
    }
}

/// Refuses thresholds that are not one finite number for every class and bit; none are due where classes are not divided.
///
/// # Errors
/// [`Error::Corrupt`] saying what is due.
pub fn check_thresholds(thresholds: &Thresholds, context: &RunContext) -> Result<()> {
    let (classes, bits) = context.histograms().map_or((0, 0), |h| (h.classes, h.subclasses.bits()));
    let fits = thresholds.len() == classes && thresholds.iter().all(|class| class.len() == bits);
    let finite = thresholds.iter().flatten().all(|threshold| threshold.is_finite());
    match fits && finite {
        true => Ok(()),
        false => {
            Err(refuse(format!("its thresholds are not {bits} finite numbers for each of {classes} classes")).into())
        }
    }
}

/// The reply of a client that has nothing to tell.
pub fn acknowledgement() -> Vec<u8> {
    envelope::seal(Kind::Done, &[])
}

/// Refuses a reply that is no acknowledgement.
///
/// # Errors
/// [`Error::Corrupt`] saying why.
pub fn check_acknowledgement(bytes: &[u8]) -> Result<()> {
    match envelope::open(Kind::Done, bytes)? {
        [] => Ok(()),
        more => Err(refuse(format!("{} bytes follow its end", more.len())).into()),
    }
}

/// The first 16 hexadecimal digits of SHA-256 over the agreement's JSON.
fn digest(agreement: &Agreement) -> Result<String> {
    Ok(agreement.digest()?[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn refuse(why: String) -> Error {
    Error::corrupt("a setup message", why)
}
