//! The store on a simulated disk: every place where the power or the process could end is tried.
//!
//! A run is recorded once, as a log of disk operations. For every prefix of the log the disk is made as a
//! killed process would leave it, and as power cuts could: nothing, everything, or a random part of what
//! was not synced. The store is opened on each and must keep its promise (K1 to K4), take new messages,
//! and show the same after one more restart.

#![allow(clippy::unwrap_used, clippy::panic)]

mod checksums;
mod directed;
mod disk;
mod dropped;
mod history;
mod platter;
mod workload;

use std::collections::BTreeMap;

use disk::SimDisk;
use history::{read_all, History, SeenQueue, View, TOPICS};
use platter::{Keeps, Op, Platter, Random};
use workload::{message, open, World};

use crate::engine::Engine;
use crate::persist::persist;

/// Runs one seed does one after the other, each on what a power cut left of the one before.
const LIFE_COUNT: usize = 3;
const STEP_COUNT: usize = 25;
/// So many violations end a campaign early, unless `VIOLATIONS` says another number.
const VIOLATIONS_MAX: u64 = 20;

#[derive(Default, Debug)]
struct Tally {
    cuts: usize,
    violations_max: usize,
    violations: Vec<String>,
}

/// The end of a machine's run.
struct Cut<'a> {
    platter: Platter,
    history: &'a History,
    op: usize,
    is_power_cut: bool,
    boot: u64,
    sync_flush: bool,
    /// The last thing that happened was a sync that failed.
    is_unnoted_failure: bool,
}

/// Opens what is left, compares it with what was promised, goes on with it, and opens it again.
fn check(cut: &Cut<'_>, random: &mut Random) -> Result<(), String> {
    let boot = cut.boot + u64::from(cut.is_power_cut);
    let disk = SimDisk::new(cut.platter.clone(), boot);
    let engine = open(&disk, cut.sync_flush)?;
    let mut view = read_all(&engine)?;
    cut.history.check(&view, cut.op, cut.is_power_cut)?;
    // Killed before it could note that a sync failed, a process leaves what nobody can tell from good.
    if !cut.is_unnoted_failure && random.happens(25) {
        outlives_a_power_cut(&disk, &view, cut.sync_flush, boot + 1, random)?;
    }
    if !cut.is_unnoted_failure && random.happens(25) {
        may_be_interrupted(cut, &disk.ops(), &view, boot, random)?;
    }
    let required = cut.history.required(cut.op, cut.is_power_cut);
    if !required.is_empty() {
        let wanted = required[random.below(required.len())];
        let (records, _, _) = engine
            .query_key(TOPICS[wanted.topic], &wanted.key, 64, 0, i64::MAX)
            .map_err(|error| format!("query: {error}"))?;
        let is_in = |record: &Vec<u8>| {
            record
                .windows(wanted.body.len())
                .any(|part| part == wanted.body)
        };
        if !records.iter().any(is_in) {
            return Err(format!("the index lacks {}", wanted.key));
        }
    }
    for topic in 0..TOPICS.len() {
        go_on(&engine, topic, &mut view)?;
    }
    engine
        .write()
        .map_err(|error| format!("write after the restart: {error}"))?;
    engine.state().log.settle();
    let is_clean = random.happens(50);
    if is_clean || cut.sync_flush {
        flush(&engine);
    }
    if is_clean {
        engine
            .close()
            .map_err(|error| format!("close after the restart: {error}"))?;
    }
    let mut disk = disk.kill();
    drop(engine);
    let mut end = if is_clean { "clean stop" } else { "kill" };
    let is_synced = is_clean || cut.sync_flush;
    if is_synced && !cut.is_unnoted_failure && random.happens(25) {
        disk = after_power_cut(&disk, boot + 1, random);
        end = "power cut";
    }
    let engine = open(&disk, cut.sync_flush).map_err(|error| format!("second time: {error}"))?;
    let again = read_all(&engine).map_err(|error| format!("second time: {error}"))?;
    if again != view {
        return Err(format!(
            "after a {end} a second restart shows {}",
            difference(&view, &again)
        ));
    }
    disk.kill();
    Ok(())
}

fn flush(engine: &Engine) {
    engine.state().flush_now();
    while engine.positions().flushed < engine.positions().written {
        std::thread::yield_now();
    }
}

/// The disk of the machine's next run.
fn after_power_cut(disk: &SimDisk, boot: u64, random: &mut Random) -> SimDisk {
    let keeps = [Keeps::Nothing, Keeps::Some(50), Keeps::Everything][random.below(3)];
    SimDisk::new(disk.platter().after_power_cut(keeps, random), boot)
}

/// A start that ends somewhere in between, by a kill or a power cut, leaves a store that shows the same.
fn may_be_interrupted(
    cut: &Cut<'_>,
    start: &[Op],
    view: &View,
    boot: u64,
    random: &mut Random,
) -> Result<(), String> {
    let mut platter = cut.platter.clone();
    let count = random.below(start.len() + 1);
    for op in &start[..count] {
        platter.apply(op);
    }
    let mut disk = SimDisk::new(platter, boot);
    let fails = random.happens(50);
    if fails {
        disk = after_power_cut(&disk, boot + 1, random);
    }
    let end = if fails { "power cut" } else { "kill" };
    let what = format!("{end} after {count} operations of the start");
    let engine = open(&disk, cut.sync_flush).map_err(|error| format!("{what}: {error}"))?;
    let again = read_all(&engine).map_err(|error| format!("{what}: {error}"))?;
    disk.kill();
    let checked = cut.history.check(&again, cut.op, fails || cut.is_power_cut);
    checked.map_err(|error| format!("{what}: {error}"))?;
    // A power cut takes what a killed process wrote and this start has not synced yet.
    let may_lose = fails && !cut.is_power_cut;
    if again != *view && !may_lose {
        return Err(format!(
            "{what}: the next one shows {}",
            difference(view, &again)
        ));
    }
    Ok(())
}

/// What a start has shown is there again if the power fails right behind it.
fn outlives_a_power_cut(
    disk: &SimDisk,
    view: &View,
    sync_flush: bool,
    boot: u64,
    random: &mut Random,
) -> Result<(), String> {
    let disk = after_power_cut(disk, boot, random);
    let engine = open(&disk, sync_flush);
    let engine = engine.map_err(|error| format!("power cut after the start: {error}"))?;
    let again = read_all(&engine).map_err(|error| format!("power cut after the start: {error}"))?;
    disk.kill();
    if again != *view {
        return Err(format!(
            "power cut after the start: the next one shows {}",
            difference(view, &again)
        ));
    }
    Ok(())
}

/// The first queue in which two views differ, and its places in both.
fn difference(
    before: &BTreeMap<(usize, i32), SeenQueue>,
    after: &BTreeMap<(usize, i32), SeenQueue>,
) -> String {
    let places = |view: &BTreeMap<(usize, i32), SeenQueue>, key| {
        view.get(key).map(|queue: &SeenQueue| {
            let at: Vec<(i64, u64)> = queue
                .records
                .iter()
                .map(|seen| (seen.queue_offset, seen.log_offset))
                .collect();
            (queue.min, queue.max, at)
        })
    };
    let mut keys = before.keys().chain(after.keys());
    let differs = keys.find(|key| before.get(key) != after.get(key));
    differs.map_or_else(String::new, |key| {
        let (before, after) = (places(before, key), places(after, key));
        format!("{key:?}: {after:?}, not {before:?}")
    })
}

/// One more message to the topic's first queue, at the next offset.
fn go_on(
    engine: &Engine,
    topic: usize,
    view: &mut BTreeMap<(usize, i32), SeenQueue>,
) -> Result<(), String> {
    let body = b"goes on";
    let place = engine
        .append(
            TOPICS[topic],
            &message(TOPICS[topic], 0, body, b""),
            1_700_000_100_000,
        )
        .map_err(|error| format!("append after the restart: {error}"))?;
    let queue = view.entry((topic, 0)).or_default();
    if place.queue_offset != queue.max {
        return Err(format!(
            "{}/0 goes on at {}, not at {}",
            TOPICS[topic], place.queue_offset, queue.max
        ));
    }
    queue.max += 1;
    queue.records.push(history::Seen {
        queue_offset: place.queue_offset,
        log_offset: place.log_offset,
        store_timestamp_ms: place.store_timestamp_ms,
        properties: Vec::new(),
        body: body.to_vec(),
    });
    Ok(())
}

/// Records a run and tries every end of it. Answers what one power cut left, and the history that
/// goes with it.
fn explore(
    start: &Platter,
    history: History,
    life: usize,
    seed: u64,
    is_slow: bool,
    tally: &mut Tally,
) -> Option<(Platter, History)> {
    let mut random = Random(seed ^ 0x5EED);
    let sync_flush = seed.is_multiple_of(2);
    let boot = life as u64 * 2;
    let mut world = World::new(
        SimDisk::new(start.clone(), boot),
        history,
        sync_flush,
        seed.wrapping_mul(8) + life as u64,
    );
    world.is_slow = is_slow;
    if let Err(problem) = world.run(STEP_COUNT) {
        tally
            .violations
            .push(format!("seed {seed} life {life} while running: {problem}"));
        return None;
    }
    let ops = world.disk.ops();
    let history = world.history;
    let goes_on_at = ops.len() - random.below(ops.len() / 4);
    let mut left = None;
    let mut platter = start.clone();
    for op in 0..=ops.len() {
        if tally.violations.len() >= tally.violations_max {
            return None;
        }
        if op > 0 {
            platter.apply(&ops[op - 1]);
        }
        let mut ends = vec![(false, Keeps::Everything)];
        if platter.has_unsynced() {
            ends.push((true, Keeps::Nothing));
            ends.push((true, Keeps::Some(50)));
            ends.push((true, Keeps::Some([10, 90][op % 2])));
        } else {
            ends.push((true, Keeps::Everything));
        }
        for (is_power_cut, keeps) in ends {
            let mut own = Random(random.next());
            let cut = Cut {
                platter: if is_power_cut {
                    platter.after_power_cut(keeps, &mut own)
                } else {
                    platter.clone()
                },
                history: &history,
                op,
                is_power_cut,
                boot,
                sync_flush,
                is_unnoted_failure: op > 0 && matches!(ops[op - 1], Op::SyncFailed { .. }),
            };
            tally.cuts += 1;
            if let Err(problem) = check(&cut, &mut own) {
                let end = if is_power_cut { "power cut" } else { "kill" };
                tally.violations.push(format!(
                    "seed {seed} life {life} operation {op} ({:?}), {end} keeps {keeps:?}: {problem}",
                    op.checked_sub(1).map(|last| short(&ops[last]))
                ));
            } else if is_power_cut && op == goes_on_at {
                left = Some((cut.platter, op));
            }
        }
    }
    let (platter, op) = left?;
    let disk = SimDisk::new(platter.clone(), boot + 1);
    let engine = open(&disk, sync_flush).ok()?;
    let view = read_all(&engine).ok()?;
    let next = history.after_power_cut(&view, op, engine.positions().commit);
    disk.kill();
    Some((platter, next))
}

fn short(op: &Op) -> String {
    match op {
        Op::Write { file, at, bytes } => format!("write file {file} {at}+{}", bytes.len()),
        other => format!("{other:?}"),
    }
}

fn try_seed(seed: u64, is_slow: bool, tally: &mut Tally) {
    let mut platter = Platter::default();
    let mut history = History::default();
    for life in 0..LIFE_COUNT {
        match explore(&platter, history, life, seed, is_slow, tally) {
            Some(left) => (platter, history) = left,
            None => return,
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => otherwise,
    }
}

/// `RUNS` cut points (at least), beginning with seed `SEED`.
fn try_cuts(is_slow: bool) {
    let first = number("SEED", 1);
    let wanted = number("RUNS", 2000) as usize;
    let mut tally = Tally {
        violations_max: number("VIOLATIONS", VIOLATIONS_MAX) as usize,
        ..Tally::default()
    };
    let mut seed = first;
    while tally.cuts < wanted && tally.violations.len() < tally.violations_max {
        try_seed(seed, is_slow, &mut tally);
        seed += 1;
    }
    for violation in &tally.violations {
        println!("{violation}");
    }
    println!(
        "{} cut points, {} violations, seed {first}",
        tally.cuts,
        tally.violations.len(),
    );
    assert!(tally.violations.is_empty());
}

#[test]
fn every_cut_of_the_power_or_the_process_keeps_the_promise() {
    try_cuts(false);
}

#[test]
fn every_cut_keeps_the_promise_while_the_writer_writes_on_a_slow_disk() {
    try_cuts(true);
}

/// A recorded run is the same whenever its seed is played: what fails can be looked at again.
#[test]
fn one_seed_gives_one_operation_log() {
    let mut stored_beside = 0;
    let mut refused_count = 0;
    for seed in 0..12u64 {
        let mut record = || {
            let disk = SimDisk::new(Platter::default(), 0);
            let mut world = World::new(disk, History::default(), seed.is_multiple_of(2), seed);
            world.is_slow = seed >= 6;
            world.run(STEP_COUNT).unwrap();
            stored_beside += world.stored_beside;
            refused_count += world.refused_count;
            world.disk.ops()
        };
        let first = record();
        assert!(first.len() > 50, "{}", first.len());
        let again = record();
        let differs = first
            .iter()
            .zip(&again)
            .position(|(one, other)| one != other);
        if first != again {
            let at = differs.unwrap_or(first.len().min(again.len()));
            let show = |ops: &[Op]| -> Vec<String> {
                ops.iter()
                    .skip(at.saturating_sub(6))
                    .take(12)
                    .map(short)
                    .collect()
            };
            panic!(
                "seed {seed}: operation {at}: {:#?} and {:#?}",
                show(&first),
                show(&again)
            );
        }
    }
    // Among them are runs in which messages were taken, and refused, while queues were being rebuilt.
    assert!(stored_beside > 0 && refused_count > 0);
}

/// Killed anywhere, a process may have been making a segment, or renaming a note, and synced nothing of it.
/// What the next one shows and takes must be there after a power cut all the same.
#[test]
fn what_a_start_after_a_kill_shows_and_takes_outlives_a_power_cut() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for topic in [1, 1, 0] {
        if topic == 0 {
            // With a marker that vouches for something, and needs no rebuild, a start syncs less.
            let mut progress = engine.shared().progress();
            progress.synced_at -= std::time::Duration::from_secs(11);
            persist(engine.shared(), &mut progress, false).unwrap();
        }
        let max = engine.queue_range(TOPICS[topic], 0).1;
        let known = SeenQueue {
            max,
            ..SeenQueue::default()
        };
        go_on(&engine, topic, &mut View::from([((topic, 0), known)])).unwrap();
        engine.write().unwrap();
        engine.state().log.settle();
        flush(&engine);
    }
    engine.drop_topic(TOPICS[0]).unwrap();
    let mut platter = Platter::default();
    for (number, op) in disk.ops().iter().enumerate() {
        platter.apply(op);
        let disk = SimDisk::new(platter.clone(), 0);
        let engine = open(&disk, true).unwrap();
        let mut view = read_all(&engine).unwrap();
        go_on(&engine, 2, &mut view).unwrap();
        engine.write().unwrap();
        flush(&engine);
        let disk = disk.kill();
        drop(engine);
        let left = disk.platter();
        let left = left.after_power_cut(Keeps::Nothing, &mut Random(1));
        let engine = open(&SimDisk::new(left, 1), true).unwrap();
        let again = read_all(&engine).unwrap();
        assert_eq!(again, view, "killed after operation {}", number + 1);
    }
    disk.kill();
}
