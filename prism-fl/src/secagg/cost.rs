//! What a sum costs, measured.

use std::time::Instant;

use super::server::Standing;
use super::sum::Stage;
use super::tests::Federation;

/// `cargo test --release -p prism-fl --lib -- --ignored --nocapture what_a_sum_costs`
#[test]
#[ignore = "takes ten minutes, and prints what it measures"]
fn what_a_sum_costs() {
    for clients in [10u32, 100, 1000] {
        let federation = Federation::new(clients, 10_000);
        let mut sum = federation.begin();
        // A tenth drops out before its input.
        let arrives = |stage: Stage, client: u32| stage < Stage::Input || client % 10 != 3;
        while let Standing::Open(stage) = *sum.standing() {
            let (mut up, mut down, mut at_clients, mut at_server) = (0, 0, 0.0, 0.0);
            let answering: Vec<u32> = sum.asked().into_iter().filter(|&client| arrives(stage, client)).collect();
            for &client in &answering {
                let began = Instant::now();
                let request = if stage == Stage::Input { Vec::new() } else { sum.request(client).unwrap() };
                at_server += began.elapsed().as_secs_f64();
                let began = Instant::now();
                let reply = match stage {
                    Stage::Input => federation.input(client, &sum, b"broadcast").unwrap(),
                    _ => federation.answer(client, &request).unwrap(),
                };
                at_clients += began.elapsed().as_secs_f64();
                let began = Instant::now();
                match stage {
                    Stage::Input => sum.add_input(client, &sum.decode_input(&reply).unwrap()).unwrap(),
                    _ => sum.accept(client, &reply).unwrap(),
                }
                at_server += began.elapsed().as_secs_f64();
                (up, down) = (up + reply.len(), down + request.len());
            }
            let began = Instant::now();
            sum.end().unwrap();
            at_server += began.elapsed().as_secs_f64();
            let n = answering.len() as f64;
            println!(
                "{clients} clients, {}: {:.4} s, {:.0} bytes up, {:.0} down a client; {at_server:.3} s at the server",
                stage.name(),
                at_clients / n,
                up as f64 / n,
                down as f64 / n,
            );
        }
        assert_eq!(sum.opened().unwrap(), &federation.plain(sum.survivors()));
    }
}
