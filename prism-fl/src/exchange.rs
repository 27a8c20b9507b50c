//! Exchanges beside the rounds themselves: the server puts a request to some clients, takes their replies, and ends it.
//!
//! ```text
//! while let Some(exchange) = server.exchange()?        before the first round; in a round of secure sums twice: once it has been
//!     for client in exchange.clients                   asked for, and again once its answers are closed
//!         server.accept_reply(client, client.reply(server.request(client)?)?)
//!     server.end_exchange()?
//! ```

/// What goes on between the server and some clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What it is about, in a word or two.
    pub title: String,
    /// The clients to put a request to. Others have dropped out.
    pub clients: Vec<u32>,
}
