#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::disk::RealDisk;

fn root(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("rmqlog-marker-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&root));
    std::fs::create_dir_all(root.join("pyromq")).unwrap();
    root
}

fn marker() -> Marker {
    let point = Point {
        log_to: 9,
        index_to: 8,
        index_name: 7,
        index_count: 6,
        last_offset: 5,
        last_size: 4,
        last_crc: 3,
    };
    Marker {
        log_synced_to: 77,
        segment_size: 4096,
        sequence: 0,
        is_clean: true,
        boot_id: "some-boot".to_string(),
        written: point,
        synced: Point { log_to: 2, ..point },
    }
}

#[test]
fn a_torn_marker_leaves_the_one_before() {
    let root = root("torn");
    let mut marker = marker();
    marker.write(&RealDisk, &root, true).unwrap();
    let first = marker.clone();
    marker.written.log_to = 100;
    marker.write(&RealDisk, &root, false).unwrap();
    assert_eq!(
        Marker::read(&RealDisk, &root).unwrap(),
        Some(marker.clone())
    );
    let path = Marker::path(&root);
    let mut content = std::fs::read(&path).unwrap();
    content[(marker.sequence % 2) as usize * SLOT_SIZE + 30] ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_eq!(Marker::read(&RealDisk, &root).unwrap(), Some(first));
    std::fs::write(&path, b"short").unwrap();
    assert_eq!(Marker::read(&RealDisk, &root).unwrap(), None);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_marker_only_newer_versions_can_read_is_refused() {
    let root = root("newer");
    let mut marker = marker();
    marker.write(&RealDisk, &root, true).unwrap();
    let path = Marker::path(&root);
    let mut content = std::fs::read(&path).unwrap();
    content[SLOT_SIZE + 15] = 9;
    std::fs::write(&path, content).unwrap();
    let error = Marker::read(&RealDisk, &root).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)));
    assert!(error.to_string().contains("newer version"));
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn queues_and_dropped_topics_come_back_and_damage_is_noticed() {
    let root = root("queues");
    let file = QueuesFile {
        queues: vec![KnownQueue {
            topic: "T".to_string(),
            id: 3,
            count: 42,
        }],
        dropped: vec![DroppedTopic {
            topic: "Old".to_string(),
            log_to: 77,
        }],
    };
    file.write(&RealDisk, &root).unwrap();
    assert_eq!(QueuesFile::read(&RealDisk, &root).unwrap(), Some(file));
    let path = QueuesFile::path(&root);
    let good = std::fs::read(&path).unwrap();
    for cut in 0..good.len() {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert_eq!(QueuesFile::read(&RealDisk, &root).unwrap(), None);
    }
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_marker_of_an_older_version_tells_nothing_of_the_log_alone() {
    let root = root("older");
    let mut marker = marker();
    marker.write(&RealDisk, &root, true).unwrap();
    let found = Marker::read(&RealDisk, &root).unwrap().unwrap();
    assert_eq!((found.vouched_to(), found.synced.log_to), (77, 2));
    let path = Marker::path(&root);
    let mut content = std::fs::read(&path).unwrap();
    let size = 8 + 4 + 4 + 8 + 1 + BOOT_ID_SIZE + 2 * POINT_SIZE + 4;
    content[SLOT_SIZE + size..].fill(0);
    std::fs::write(&path, content).unwrap();
    let found = Marker::read(&RealDisk, &root).unwrap().unwrap();
    assert_eq!((found.vouched_to(), found.synced.log_to), (2, 2));
    std::fs::remove_dir_all(&root).unwrap();
}
