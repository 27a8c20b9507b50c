//! The server's exchanges beside broadcasts and updates: before the first round, and around those of a secure sum.

use super::Server;
use crate::error::{Error, Refused, Result};
use crate::exchange::Exchange;
use crate::secagg::{Peers, Plan, Purpose, SecureSum, Stage, Standing};

impl Server {
    /// Keeps the list of all clients' public keys, by which secure sums know them: as the file `peers` in the folder of what is
    /// shared, where it may also be put by hand.
    ///
    /// # Errors
    /// If another list is there, or the folder cannot be written.
    pub fn keep_peers(&self, peers: &Peers) -> Result<()> {
        Ok(peers.keep(&self.folder.shared())?)
    }

    /// The exchange that goes on beside the rounds' broadcasts and updates ([`crate::exchange`]); none where there is nothing to
    /// exchange now.
    ///
    /// # Errors
    /// If a secure sum is to begin and has no list of peers, or the folder cannot be read or written.
    pub fn exchange(&mut self) -> Result<Option<Exchange>> {
        if self.setup.phase().is_some() {
            return Ok(self.setup.exchange(&self.context)?);
        }
        let sum = self.open.as_ref().and_then(|(aggregator, _)| aggregator.sum());
        Ok(sum.and_then(|sum| match sum.standing() {
            Standing::Open(Stage::Input) | Standing::Opened | Standing::Failed(_) => None,
            Standing::Open(stage) => Some(Exchange { title: stage.name().into(), clients: sum.asked() }),
        }))
    }

    /// The message to `client` in the exchange that goes on.
    ///
    /// # Errors
    /// If none goes on, the client is not asked, or a file cannot be read.
    pub fn request(&self, client: u32) -> Result<Vec<u8>> {
        if self.setup.phase().is_some() {
            return Ok(self.setup.request(&self.context, client)?);
        }
        let sum = self.open.as_ref().and_then(|(aggregator, _)| aggregator.sum());
        Ok(sum.ok_or_else(|| Error::usage("no exchange goes on"))?.request(client)?)
    }

    /// The request that goes before the snapshot of a client that is new to a federation which has begun, or has lost its folder:
    /// what all agreed on before the first round. None where that is nothing.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn start_request(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.setup.restart_request(&self.context)?)
    }

    /// Takes a client's reply in the exchange that goes on.
    ///
    /// # Errors
    /// If it is not one of this exchange, or the client has answered; the exchange goes on without it.
    pub fn accept_reply(&mut self, client: u32, reply: &[u8]) -> Result<(), Refused> {
        let refused = |reason: String| Refused { client, reason };
        if self.setup.phase().is_some() {
            return self.setup.accept(&self.context, client, reply).map_err(|error| refused(error.to_string()));
        }
        let Some((aggregator, report)) = &mut self.open else { return Err(refused("no round is open".into())) };
        let Some(sum) = aggregator.sum_mut() else { return Err(refused("no exchange goes on".into())) };
        sum.accept(client, reply).map_err(|error| {
            let refused = refused(error.to_string());
            report.refused.push(refused.clone());
            refused
        })
    }

    /// Ends the exchange that goes on with the replies that came in. In a round, a secure sum that too few took part in has then
    /// failed, and the round ends as one that nobody answered, or is asked for again.
    ///
    /// # Errors
    /// Before the first round, if too few have answered (the next [`Server::exchange`] tries again) or nothing stands out of the
    /// noise; if the folder cannot be written.
    pub fn end_exchange(&mut self) -> Result<()> {
        if self.setup.phase().is_some() {
            return Ok(self.setup.end(&self.context)?);
        }
        let sum = self.open.as_mut().and_then(|(aggregator, _)| aggregator.sum_mut());
        Ok(sum.ok_or_else(|| Error::usage("no exchange goes on"))?.end()?)
    }

    /// The secure sum of the next round: as it was left where its input was complete, else a new attempt.
    pub(super) fn begin_sum(&self, asked: &[u32]) -> Result<SecureSum> {
        let terms = self.context.sum_terms(Purpose::Round)?;
        let shape = (terms.vote_bits(), self.context.session().mask_weights());
        let plan = Plan { purpose: Purpose::Round, round: self.round() + 1, shape };
        let folder = self.folder.shared();
        match SecureSum::resume(&folder, terms, &plan)? {
            Some(sum) => Ok(sum),
            None => Ok(SecureSum::begin(&folder, terms, &plan, asked.to_vec())?),
        }
    }
}

/// Why the round's secure sum is not known; nothing where it is.
pub(super) fn failure_of(sum: &SecureSum) -> Option<String> {
    match sum.standing() {
        Standing::Opened => None,
        Standing::Failed(why) => Some(why.clone()),
        Standing::Open(stage) => Some(format!("the exchange of {} has not been ended", stage.name())),
    }
}
