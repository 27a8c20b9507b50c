//! Whole sums: honest ones, and servers and clients that do not keep to the protocol.

use std::path::PathBuf;

use proptest::prelude::*;

use super::client::{Input, Participant};
use super::message::{Body, DEALT_BYTES, GIVEN_BYTES, Request, decode_reply, encode_reply};
use super::server::{Plan, SecureSum, Standing, encode_input};
use super::store::identity;
use super::*;

pub(super) const WIDTH: u32 = 21;
pub(super) const COUNT: usize = 50;
pub(super) const ROUND: (Purpose, u32) = (Purpose::Round, 4);

/// Clients and a server in folders beside each other.
pub(super) struct Federation {
    dir: tempfile::TempDir,
    pub(super) terms: Terms,
    count: usize,
}

impl Federation {
    pub(super) fn new(clients: u32, count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut terms = Terms { federation: [5; 32], clients, asked: clients, needed: 0 };
        terms.needed = terms.threshold();
        let federation = Federation { dir, terms, count };
        let peers = Peers::new((0..clients).map(|id| identity(&federation.folder(id)).unwrap().public()));
        peers.keep(&federation.server()).unwrap();
        (0..clients).for_each(|id| peers.keep(&federation.folder(id)).unwrap());
        federation
    }

    fn folder(&self, id: u32) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    fn server(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    fn plan(&self) -> Plan {
        let (purpose, round) = ROUND;
        Plan { purpose, round, shape: (WIDTH, self.count) }
    }

    pub(super) fn begin(&self) -> SecureSum {
        let asked = (0..self.terms.clients).collect();
        SecureSum::begin(&self.server(), self.terms, &self.plan(), asked).unwrap()
    }

    fn resume(&self) -> SecureSum {
        SecureSum::resume(&self.server(), self.terms, &self.plan()).unwrap().unwrap()
    }

    /// What `client` does with its folder, each time as another process.
    pub(super) fn client<T>(&self, client: u32, act: impl FnOnce(&Participant<'_>) -> T) -> T {
        act(&Participant { client, folder: &self.folder(client), terms: self.terms })
    }

    pub(super) fn answer(&self, client: u32, request: &[u8]) -> Result<Vec<u8>> {
        self.client(client, |participant| participant.answer(request))
    }

    fn vector(&self, client: u32) -> RingVector {
        RingVector::new(WIDTH, (0..self.count as u64).map(|i| (i + 1) * (u64::from(client) * 77_777 + 13)).collect())
    }

    /// The client's input, from then on the same.
    pub(super) fn input(&self, client: u32, sum: &SecureSum, request: &[u8]) -> Result<Vec<u8>> {
        self.client(client, |participant| {
            let dealers = sum.dealers();
            let blinds = match participant.input(ROUND, WIDTH, &dealers, request)? {
                Input::Given(reply) => return Ok(reply),
                Input::Due(blinds) => blinds,
            };
            let mut vector = self.vector(client);
            vector.blind(&blinds.list);
            assert_ne!(vector, self.vector(client));
            let reply = encode_input(&participant.newest(Purpose::Round)?, &vector);
            participant.keep_input(Purpose::Round, &dealers, request, &reply)?;
            Ok(reply)
        })
    }

    /// One exchange with the replies that arrive.
    pub(super) fn exchange(&self, sum: &mut SecureSum, arrives: &dyn Fn(Stage, u32) -> bool) {
        let Standing::Open(stage) = *sum.standing() else { panic!("no exchange goes on: {:?}", sum.standing()) };
        for client in sum.asked().into_iter().filter(|&client| arrives(stage, client)) {
            if stage == Stage::Input {
                let reply = self.input(client, sum, b"broadcast").unwrap();
                sum.add_input(client, &sum.decode_input(&reply).unwrap()).unwrap();
            } else {
                let request = sum.request(client).unwrap();
                let reply = self.answer(client, &request).unwrap();
                assert_eq!(self.answer(client, &request).unwrap(), reply, "a request that comes again");
                sum.accept(client, &reply).unwrap();
            }
        }
        sum.end().unwrap();
    }

    /// All exchanges up to the one of `stage`, with everybody.
    pub(super) fn up_to(&self, stage: Stage) -> SecureSum {
        let mut sum = self.begin();
        while *sum.standing() != Standing::Open(stage) {
            self.exchange(&mut sum, &|_, _| true);
        }
        sum
    }

    pub(super) fn plain(&self, clients: &[u32]) -> RingVector {
        let mut sum = RingVector::zeros(WIDTH, self.count);
        clients.iter().for_each(|&client| sum.add(&self.vector(client)));
        sum
    }
}

pub(super) fn why<T>(result: Result<T>) -> String {
    result.err().expect("it is refused").to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_sum_is_the_plain_one_of_those_whose_input_came_or_fails_by_name(
        clients in 3u32..=20, lost in proptest::collection::vec((0u32..20, 0usize..9), 0..7), restarts in any::<bool>(),
    ) {
        let federation = Federation::new(clients, COUNT);
        let arrives = |stage: Stage, client: u32| !lost.contains(&(client, stage as usize));
        let mut sum = federation.begin();
        while matches!(sum.standing(), Standing::Open(_)) {
            federation.exchange(&mut sum, &arrives);
            if restarts && !sum.survivors().is_empty() && !matches!(sum.standing(), Standing::Failed(_)) {
                sum = federation.resume();
            }
        }
        let mut left: Vec<u32> = (0..clients).collect();
        let mut enough = true;
        for stage in Stage::ALL {
            left.retain(|&client| arrives(stage, client));
            enough &= left.len() >= federation.terms.threshold();
            if stage == Stage::Input && enough {
                prop_assert_eq!(sum.survivors(), left.as_slice());
            }
        }
        match sum.standing() {
            Standing::Opened => {
                prop_assert!(enough);
                prop_assert_eq!(sum.opened().unwrap(), &federation.plain(sum.survivors()));
            }
            Standing::Failed(why) => prop_assert!(!enough && why.contains("clients answered in the exchange of"), "{}", why),
            Standing::Open(_) => unreachable!(),
        }
    }
}

#[test]
fn a_failed_attempt_is_followed_by_one_with_fresh_keys() {
    let federation = Federation::new(4, COUNT);
    for (attempt, at) in (1..).zip([Stage::Keys, Stage::Shares, Stage::Input]) {
        let mut sum = federation.begin();
        assert_eq!(sum.id().attempt, attempt);
        while matches!(sum.standing(), Standing::Open(_)) {
            federation.exchange(&mut sum, &|stage, client| stage != at || client < 2);
        }
        assert!(
            matches!(sum.standing(), Standing::Failed(why) if why.contains("2 of 4 clients")),
            "{:?}",
            sum.standing()
        );
    }
    let mut sum = federation.begin();
    let late = federation.answer(0, &sum.request(0).unwrap()).unwrap();
    let mut next = federation.begin();
    assert!(why(next.accept(0, &late)).contains("late message"));
    assert!(why(sum.end().and_then(|()| sum.request(0))).contains("has failed"));
    (0..5).for_each(|_| federation.exchange(&mut next, &|_, _| true));
    assert_eq!(next.opened(), Some(&federation.plain(&[0, 1, 2, 3])));
}

#[test]
fn a_sum_that_too_few_unmask_is_not_lost() {
    let federation = Federation::new(4, COUNT);
    let mut sum = federation.up_to(Stage::Unmask);
    federation.exchange(&mut sum, &|_, client| client < 2);
    assert!(matches!(sum.standing(), Standing::Failed(_)));
    sum.retry();
    federation.exchange(&mut sum, &|_, _| true);
    assert_eq!(sum.opened(), Some(&federation.plain(&[0, 1, 2, 3])));
}

#[test]
fn a_server_gets_one_kind_of_share_of_each_client() {
    let federation = Federation::new(4, COUNT);
    let mut sum = federation.up_to(Stage::Unmask);
    let request = Request::decode(&sum.request(0).unwrap()).unwrap();
    federation.exchange(&mut sum, &|_, _| true);
    let (id, dealers) = (sum.id().clone(), vec![0, 1, 2, 3]);
    // Client 3's input came; now its pair secret is asked for as well.
    let body = Body::Survivors { dealers, survivors: vec![0, 1, 2] };
    let again = why(federation.answer(0, &Request { id: id.clone(), body }.encode()));
    assert!(again.contains("answered once"), "{again}");
    let Body::Unmask { mut signatures, dealt } = request.body else { unreachable!() };
    signatures.pop();
    let again =
        why(federation.answer(0, &Request { id: id.clone(), body: Body::Unmask { signatures, dealt } }.encode()));
    assert!(again.contains("answered once"), "{again}");
    // Neither is another sum of this round opened, in which it would be missing.
    let another = federation.begin();
    let again = why(federation.answer(0, &another.request(0).unwrap()));
    assert!(again.contains("has helped to open"), "{again}");
}

#[test]
fn a_server_that_shows_different_lists_of_survivors_opens_nothing() {
    let federation = Federation::new(4, COUNT);
    let sum = federation.up_to(Stage::Survivors);
    let (id, dealers) = (sum.id().clone(), sum.dealers());
    let sign = |client, survivors: &[u32]| {
        let body = Body::Survivors { dealers: dealers.clone(), survivors: survivors.to_vec() };
        let reply = federation.answer(client, &Request { id: id.clone(), body }.encode())?;
        Ok((client, *message::exactly::<64>(decode_reply(Stage::Survivors, &id, &reply)?)?))
    };
    let mut signatures: Vec<_> = (0..2).map(|client| sign(client, &[0, 1, 2]).unwrap()).collect();
    signatures.extend((2..4).map(|client| sign(client, &[0, 1, 2, 3]).unwrap()));
    let dealt = sum.dealt_to(0).unwrap();
    for signatures in [signatures.clone(), signatures[..2].to_vec(), vec![signatures[0]; 3]] {
        let text = why(federation
            .answer(0, &Request { id: id.clone(), body: Body::Unmask { signatures, dealt: dealt.clone() } }.encode()));
        let named =
            text.contains("different lists") || text.contains("it takes 3 signatures") || text.contains("or twice");
        assert!(named, "{text}");
    }
    let others = why(sign(2, &[0, 1, 2]));
    assert!(others.contains("answered once"), "{others}");
}

#[test]
fn swapped_keys_are_refused_by_client_and_server() {
    let federation = Federation::new(4, COUNT);
    let mut sum = federation.begin();
    let reply = federation.answer(1, &sum.request(1).unwrap()).unwrap();
    assert!(why(sum.accept(2, &reply)).contains("client 2's key in the list of peers"));
    federation.exchange(&mut sum, &|_, _| true);
    let Body::Shares(adverts) = Request::decode(&sum.request(0).unwrap()).unwrap().body else { unreachable!() };
    let own = keys::Secrets::generate().unwrap().advert(sum.id(), 1, &keys::Identity::generate().unwrap());
    for (at, advert, word) in
        [(1, own, "not signed"), (1, adverts[2].1, "not signed"), (0, adverts[1].1, "not this client's own")]
    {
        let mut swapped = adverts.clone();
        swapped[at].1 = advert;
        let text = why(federation.answer(0, &Request { id: sum.id().clone(), body: Body::Shares(swapped) }.encode()));
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn shares_of_an_earlier_sum_are_worth_nothing_in_a_later_one() {
    let federation = Federation::new(4, COUNT);
    let earlier = federation.up_to(Stage::Survivors);
    let stale = earlier.dealt_to(0).unwrap();
    let mut sum = federation.up_to(Stage::Unmask);
    let Body::Unmask { signatures, .. } = Request::decode(&sum.request(0).unwrap()).unwrap().body else {
        unreachable!()
    };
    let body = Body::Unmask { signatures, dealt: stale };
    let reply = federation.answer(0, &Request { id: sum.id().clone(), body }.encode()).unwrap();
    assert_eq!(decode_reply(Stage::Unmask, sum.id(), &reply).unwrap(), [0; 4 * GIVEN_BYTES], "not one share is given");
    // The others are enough.
    federation.exchange(&mut sum, &|_, client| client != 0);
    assert_eq!(sum.opened(), Some(&federation.plain(&[0, 1, 2, 3])));
}

#[test]
fn a_client_s_wrong_reply_is_refused_by_name_and_the_sum_goes_on() {
    let federation = Federation::new(5, COUNT);
    let mut sum = federation.begin();
    while let Standing::Open(stage) = *sum.standing() {
        if stage == Stage::Input {
            let reply = federation.input(4, &sum, b"broadcast").unwrap();
            for length in 0..reply.len() {
                assert!(sum.decode_input(&reply[..length]).is_err());
            }
            federation.exchange(&mut sum, &|_, _| true);
            continue;
        }
        let reply = federation.answer(4, &sum.request(4).unwrap()).unwrap();
        let body = decode_reply(stage, sum.id(), &reply).unwrap().to_vec();
        let id = sum.id().clone();
        let seal = |body: &[u8]| encode_reply(stage, &id, body);
        let (short, mut flipped) = (seal(&body[..body.len() - 1]), body.clone());
        flipped[GIVEN_BYTES + 7] ^= 1;
        let mut wrong = vec![short, reply[..reply.len() - 1].to_vec(), Vec::new()];
        // Nobody but its holder can tell that a sealed share is damaged.
        wrong.extend((stage != Stage::Shares).then(|| seal(&flipped)));
        let earlier = SumId { attempt: 0, ..id.clone() };
        wrong.push(encode_reply(stage, &earlier, &body));
        for message in wrong {
            assert!(sum.accept(4, &message).is_err(), "{stage:?}");
        }
        let text = why(sum.accept(9, &reply));
        assert!(text.contains("client 9 is not asked"), "{text}");
        if stage == Stage::Unmask {
            let text = why(sum.accept(4, &seal(&flipped)));
            assert!(text.contains("the share of client 1 that client 4 gives"), "{text}");
        }
        sum.accept(4, &reply).unwrap();
        assert!(why(sum.accept(4, &reply)).contains("already answered"));
        for client in sum.asked().into_iter().filter(|&client| client != 4) {
            let reply = federation.answer(client, &sum.request(client).unwrap()).unwrap();
            sum.accept(client, &reply).unwrap();
        }
        sum.end().unwrap();
    }
    assert_eq!(sum.opened(), Some(&federation.plain(&[0, 1, 2, 3, 4])));
    assert!(why(sum.accept(4, b"")).contains("too late"));
}

#[test]
fn a_dealer_of_damaged_shares_is_named() {
    let federation = Federation::new(4, COUNT);
    let mut sum = federation.up_to(Stage::Shares);
    for client in 0..4 {
        let reply = federation.answer(client, &sum.request(client).unwrap()).unwrap();
        let mut body = decode_reply(Stage::Shares, sum.id(), &reply).unwrap().to_vec();
        if client == 2 {
            body.chunks_mut(DEALT_BYTES).take(3).for_each(|dealt| dealt[5] ^= 1);
        }
        let reply = encode_reply(Stage::Shares, sum.id(), &body);
        sum.accept(client, &reply).unwrap();
    }
    sum.end().unwrap();
    while matches!(sum.standing(), Standing::Open(_)) {
        federation.exchange(&mut sum, &|_, _| true);
    }
    assert!(
        matches!(sum.standing(), Standing::Failed(why) if why.contains("client 2 dealt good shares to 1")),
        "{:?}",
        sum.standing()
    );
}

#[test]
fn nobody_takes_part_without_a_list_of_peers_or_under_another_s_name() {
    let federation = Federation::new(4, COUNT);
    let sum = federation.begin();
    std::fs::remove_file(federation.folder(0).join("peers")).unwrap();
    let error = federation.answer(0, &sum.request(0).unwrap()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("there is no"), "{error}");
    std::fs::remove_file(federation.folder(1).join("identity.key")).unwrap();
    let error = federation.answer(1, &sum.request(1).unwrap()).unwrap_err();
    assert!(error.to_string().contains("whose own is"), "{error}");
}
