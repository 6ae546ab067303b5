//! Tests of [`super`]: who is kept where, and who is found again.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::pull::tests::known;

fn poll(connection: u32, topic: &str, queue_id: i32, opaque: i32, timeout_ms: i64) -> Poll {
    Poll {
        connection,
        opaque,
        form: SerializeType::Json,
        known: Arc::new(known(topic, "CG")),
        queue_id,
        first_offset: 0,
        queue_offset: 0,
        message_count_max: 32,
        body_size_max: 1000,
        deadline_ms: timeout_ms,
        frame: Box::from(&b"frame"[..]),
        awaits_device: false,
        fetch_count: 0,
    }
}

fn parked() -> Parked {
    let mut parked = Parked::default();
    parked.limit(1_000_000, 1_000_000);
    parked
}

fn opaques(polls: &[Poll]) -> Vec<i32> {
    polls.iter().map(|poll| poll.opaque).collect()
}

fn of_queue(parked: &mut Parked, topic: &str, queue_id: i32) -> Vec<i32> {
    let mut found = Vec::new();
    parked.of_queue(topic, queue_id, &mut found);
    let polls = found
        .into_iter()
        .map(|slot| parked.poll(slot).unwrap().opaque);
    polls.collect()
}

#[test]
fn a_queue_has_its_polls_in_their_order_whoever_leaves() {
    let mut parked = parked();
    for opaque in 0..6 {
        parked.park(poll(opaque as u32 % 2, "T", opaque / 5, opaque, 10));
    }
    parked.park(poll(0, "U", 0, 9, 10));
    assert_eq!(of_queue(&mut parked, "T", 0), [0, 1, 2, 3, 4]);
    assert_eq!(of_queue(&mut parked, "T", 1), [5]);
    assert_eq!(of_queue(&mut parked, "T", 2), []);
    assert_eq!(of_queue(&mut parked, "V", 0), []);
    for slot in [2, 0, 4] {
        assert_eq!(parked.take(slot).unwrap().opaque, slot as i32);
        assert!(parked.take(slot).is_none());
    }
    assert_eq!(of_queue(&mut parked, "T", 0), [1, 3]);
    parked.park(poll(7, "T", 0, 11, 10));
    assert_eq!(of_queue(&mut parked, "T", 0), [1, 3, 11]);
    assert_eq!(
        [0, 1, 7, 8].map(|connection| parked.count_of(connection)),
        [1, 3, 1, 0]
    );
    parked.drop_connection(1);
    assert_eq!(of_queue(&mut parked, "T", 0), [11]);
    parked.drop_connection(7);
    parked.drop_connection(8);
    assert_eq!(parked.len(), 1);
    assert_eq!(parked.queues.len(), 1, "nothing is left of empty queues");
    assert_eq!(opaques(&parked.take_all()), [9]);
    assert!(parked.is_empty() && parked.queues.is_empty());
}

#[test]
fn who_waited_long_enough_is_due_and_nobody_else() {
    let mut parked = parked();
    parked.park(poll(0, "T", 0, 1, 50));
    parked.begin_waits(100);
    parked.park(poll(0, "T", 0, 2, 20));
    parked.park(poll(0, "T", 0, 3, 20));
    assert!(
        parked.take_due(1_000_000).len() == 1,
        "the others' waits are to begin"
    );
    parked.begin_waits(200);
    parked.begin_waits(300);
    assert!(parked.take_due(219).is_empty());
    assert!(parked.take(0).is_none());
    let mut found = Vec::new();
    parked.of_queue("T", 0, &mut found);
    parked.take(found[0]);
    assert_eq!(opaques(&parked.take_due(220)), [3]);
    assert!(parked.is_empty() && parked.deadlines.is_empty());
}

#[test]
fn a_slot_given_again_has_a_deadline_of_its_own() {
    let mut parked = parked();
    parked.park(poll(0, "T", 0, 1, 10));
    parked.begin_waits(0);
    parked.take(0);
    parked.park(poll(0, "T", 0, 2, 100));
    parked.begin_waits(0);
    assert!(parked.take_due(50).is_empty());
    assert_eq!(opaques(&parked.take_due(100)), [2]);
}

#[test]
fn deadlines_of_ended_polls_do_not_pile_up() {
    let mut parked = parked();
    for opaque in 0..10_000 {
        parked.park(poll(0, "T", 0, opaque, 15_000));
        parked.begin_waits(0);
        parked.take(0);
        parked.take_due(1);
    }
    assert!(parked.deadlines.len() <= STALE_DEADLINES_MIN + 1);
}

#[test]
fn topics_and_groups_are_taken_whole() {
    let mut parked = parked();
    for opaque in 0..4 {
        parked.park(poll(opaque as u32, "T", opaque, opaque, 10));
    }
    let mut other = poll(0, "U", 0, 8, 10);
    other.known = Arc::new(known("U", "DG"));
    parked.park(other);
    assert_eq!(
        opaques(&parked.take_groups(&["DG".into(), "EG".into()])),
        [8]
    );
    let mut taken = opaques(&parked.take_topic("T"));
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3]);
    assert!(parked.take_topic("T").is_empty());
    for opaque in [5, 6, 7] {
        parked.park(poll(0, "T", opaque, opaque, 10));
    }
    assert_eq!(opaques(&parked.take_groups(&["CG".into()])), [5, 6, 7]);
}

#[test]
fn rooms_are_those_that_were_said() {
    let mut parked = Parked::default();
    assert!(!parked.has_room(0), "nothing was said");
    parked.limit(3, 2);
    parked.limit_connection(1, Some(1));
    for connection in [0, 0, 1] {
        assert!(parked.has_room(connection));
        parked.park(poll(connection, "T", 0, 0, 10));
    }
    assert!(!parked.has_room(2));
    parked.limit(10, 2);
    assert_eq!(
        [0, 1, 2].map(|connection| parked.has_room(connection)),
        [false, false, true]
    );
    parked.limit_connection(1, None);
    assert!(parked.has_room(1));
    parked.limit_connection(2, Some(0));
    assert!(!parked.has_room(2));
    parked.drop_connection(2);
    assert!(parked.has_room(2), "its number may be another's");
}
