//! A federation in sixty lines: three clients and a server agree on a generator of pen strokes, and ship it as a file.
//!
//! ```sh
//! cargo run --release -p prism-fl --example federation -- runs/example
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use prism_data::{LoadOptions, Source};
use prism_export::{Options, RunFolder, export};
use prism_fl::{Agreement, Client, ClientData, DataDescription, Randomness, Result, RunContext, Server, Settings};

const CLIENTS: u32 = 3;

fn main() -> Result<()> {
    let folder = RunFolder::new(std::env::args().nth(1).map_or_else(|| PathBuf::from("runs/example"), PathBuf::from));
    std::fs::create_dir_all(folder.path()).map_err(|e| prism_core::Error::io("create", folder.path(), e))?;

    // What everybody knows before the first message.
    let mut settings = Settings::default();
    (settings.federation.clients, settings.federation.rounds) = (CLIENTS, 3);
    (settings.model.image_size, settings.model.ngf) = (16, 8);
    let options = LoadOptions { image_size: 16, channels: Some(1), limit: Some(1500), ..LoadOptions::default() };
    let images = prism_data::load(Source::Strokes, &options)?;
    let data = DataDescription {
        name: images.name().into(),
        channels: images.channels(),
        class_names: images.class_names().to_vec(),
        images: images.len(),
        partition: "every third".into(),
    };
    let context = RunContext::new(Agreement { settings, data }, Device::Cpu, Randomness::Seed)?;

    // Each party has a folder of its own, and can be killed and opened again between any two calls.
    let dataset = Arc::new(images);
    let mut server = Server::open(Arc::clone(&context), folder.clone())?;
    let open = |id: u32| {
        let members = (id as usize..dataset.len()).step_by(CLIENTS as usize).collect();
        let data = ClientData { dataset: Arc::clone(&dataset), members };
        Client::open(Arc::clone(&context), id, data, &folder.client(id))
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(open).collect();

    while server.round() < 3 {
        for id in server.ask(&[0, 1, 2])? {
            let broadcast = server.broadcast(id).bytes;
            let answer = clients[id as usize].round(&broadcast, &())?;
            println!("client {id}: {} bytes down, {} up", broadcast.len(), answer.update.len());
            server.accept(id, &answer.update).map_err(|refused| prism_fl::Error::usage(refused.to_string()))?;
            server.note(id, answer.report);
        }
        let report = server.end_round(&())?;
        server.save()?;
        println!("round {}: loss {:?}", server.round(), report.loss());
    }
    let checkpoint = server.checkpoint();
    let report = export(&checkpoint, Options::of(&checkpoint), &folder.model())?;
    println!("{} ({} bytes)", report.path.display(), report.file_bytes);
    Ok(())
}
