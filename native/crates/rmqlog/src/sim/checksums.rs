//! Checksums of whole records and the marker that calls records safe: they must be there first.

use std::sync::Arc;

use super::directed::*;
use super::disk::SimDisk;
use super::platter::{Keeps, Platter};
use super::workload::{open, settings};
use crate::crc_file::CrcReader;
use crate::marker::Marker;

/// Every place in a round of the persister where the power could fail: records the marker calls safe are
/// guarded by their checksums as whole records.
#[test]
fn a_sync_vouches_for_no_record_whose_checksum_is_not_safe() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store(&engine, 0, 900);
    persist_round(&engine, true); // the first one syncs all there is, the second what was written since
    for number in 1..8 {
        store(&engine, number, 900); // two segments
    }
    let (plan, _) = engine.read(TOPIC, 0, 0, 8, 1 << 20).unwrap();
    let records: Vec<u64> = plan
        .records
        .iter()
        .map(|record| record.log_offset)
        .collect();
    assert_eq!(records.len(), 8);
    let before = disk.op_count();
    persist_round(&engine, true);
    let ops = disk.ops();
    disk.kill();
    let settings = settings(true);
    let mut guarded = 0;
    for end in before..=ops.len() {
        let left = Arc::new(after_power_cut(&ops[..end], Keeps::Nothing, 0));
        let marker = Marker::read(&*left, &settings.root).unwrap();
        let safe_to = marker.map_or(0, |marker| marker.synced.log_to);
        let mut reader = CrcReader::new(left, &settings.root);
        for &at in records.iter().filter(|&&at| at < safe_to) {
            let base = at - at % settings.segment_size;
            assert!(reader.expected(base, at).is_some(), "operation {end}: {at}");
            guarded += 1;
        }
    }
    assert!(guarded >= 8);
}

/// While somebody else writes checksums the persister vouches for no further record, and then it comes first.
#[test]
fn a_sync_waits_for_checksums_that_are_being_written() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store(&engine, 0, 20);
    persist_round(&engine, true);
    let safe_to = || {
        let marker = Marker::read(&disk, &settings(true).root).unwrap();
        marker.map(|marker| marker.synced.log_to)
    };
    let before = safe_to();
    assert_eq!(before, Some(engine.positions().commit));
    let mut number = 0;
    let mut until_due = || loop {
        number += 1;
        store(&engine, number, 900); // until a segment is full
        if let Some(work) = engine.state().log.crcs().take_due() {
            return work;
        }
    };
    let mut work = until_due();
    persist_round(&engine, true);
    assert_eq!(safe_to(), before);
    work.write();
    engine.state().log.crcs().wrote(work);
    store(&engine, 100, 3000);
    store(&engine, 101, 3000);
    let due = engine.state().log.crcs().take_due();
    assert!(due.is_none(), "the persister comes first");
    persist_round(&engine, true);
    assert_eq!(safe_to(), Some(engine.positions().commit));
    let work = until_due();
    engine.state().log.crcs().wrote(work);
    engine.close().unwrap();
}
