//! Lists of clients that a server shows, and that its clients do not go along with.

use super::message::{Body, Request};
use super::server::SecureSum;
use super::tests::{COUNT, Federation, ROUND, WIDTH, why};
use super::*;

/// Where each client adds its share of the noise, a sum without one of them has less than was promised.
#[test]
fn a_sum_that_takes_everybody_s_input_is_helped_with_no_shorter_list() {
    let mut federation = Federation::new(6, COUNT);
    federation.terms.needed = 6;
    let ask = |sum: &SecureSum, body| why(federation.answer(0, &Request { id: sum.id().clone(), body }.encode()));
    let (all, five): (Vec<u32>, Vec<u32>) = ((0..6).collect(), (0..5).collect());
    assert!(ask(&federation.begin(), Body::Keys(five.clone())).contains("it takes 6 to 6"));
    let sum = federation.up_to(Stage::Input);
    let short = federation.client(0, |participant| participant.input(ROUND, WIDTH, &five, b"broadcast").map(drop));
    assert!(why(short).contains("it takes 6 to 6"));
    drop(sum);
    let mut sum = federation.up_to(Stage::Survivors);
    let body = Body::Survivors { dealers: all, survivors: five };
    assert!(ask(&sum, body).contains("it takes 6 to 6"));
    // To open what all have given, four are enough.
    federation.exchange(&mut sum, &|_, client| client != 5);
    federation.exchange(&mut sum, &|_, client| client < 4);
    assert_eq!(sum.opened(), Some(&federation.plain(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn lists_that_are_too_short_or_not_those_before_are_refused() {
    let federation = Federation::new(6, COUNT);
    let mut sum = federation.begin();
    let ask = |body| federation.answer(0, &Request { id: sum.id().clone(), body }.encode());
    for (members, word) in [
        (vec![0, 1, 2], "it takes 4 to 6"),
        (vec![0], "it takes 4"),
        (vec![1, 2, 3, 4], "lack client 0"),
        (vec![0, 1, 2, 9], "0 to 5"),
    ] {
        let text = why(ask(Body::Keys(members)));
        assert!(text.contains(word), "{text}");
    }
    let unknown = Terms { federation: [6; 32], ..federation.terms };
    let elsewhere = SumId { federation: unknown.federation, ..sum.id().clone() };
    let text = why(federation.answer(0, &Request { id: elsewhere, body: Body::Keys(vec![0, 1, 2, 3]) }.encode()));
    assert!(text.contains("other settings"), "{text}");
    federation.exchange(&mut sum, &|_, client| client != 5);
    let Body::Shares(mut adverts) = Request::decode(&sum.request(0).unwrap()).unwrap().body else { unreachable!() };
    adverts.truncate(3);
    let text = why(federation.answer(0, &Request { id: sum.id().clone(), body: Body::Shares(adverts) }.encode()));
    assert!(text.contains("clients with keys are 3"), "{text}");
    federation.exchange(&mut sum, &|_, client| client != 4);
    let participant =
        |dealers: &[u32]| federation.client(0, |p| p.input(ROUND, WIDTH, dealers, b"broadcast").map(drop));
    assert!(why(participant(&[0, 1, 2])).contains("clients that shared are 3"));
    assert!(why(participant(&[0, 1, 2, 5])).contains("include client 5"));
    federation.input(0, &sum, b"broadcast").unwrap();
    let text = why(federation.input(0, &sum, b"another broadcast"));
    assert!(text.contains("answered once"), "{text}");
    let body = Body::Survivors { dealers: vec![0, 1, 2, 3, 4], survivors: vec![0, 1, 2, 3] };
    let text = why(federation.answer(0, &Request { id: sum.id().clone(), body }.encode()));
    assert!(text.contains("blinded its input for"), "{text}");
}
