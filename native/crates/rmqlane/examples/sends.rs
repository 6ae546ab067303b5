//! What a send costs from its frame to its reply, without sockets and without Python: ns a message, or,
//! under `valgrind --tool=callgrind`, instructions.
//!
//!     cargo run --release -p rmqlane --example sends -- [binary|json] [turns] [topics]
//!
//! A turn is a chunk of 128 frames as four Java producers would send them, KEYS, TAGS and UNIQ_KEY set. The
//! store is in memory where there is some, and goes at the end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rmqlane::{Lane, Terms, Topic};
use rmqlog::disk::RealDisk;
use rmqlog::{Engine, Settings};
use rmqwire::frame::Limits;

const FRAMES: usize = 128;
const QUEUES: usize = 8;
const NOW_MS: i64 = 1_700_000_009_000;
const LIMITS: Limits = Limits {
    frame_size_max: 16 << 20,
    header_size_max: 64 << 10,
    ext_fields_max: 256,
};

fn fields(topic: &str, number: usize) -> Vec<(&'static str, String)> {
    let properties = format!(
        "KEYS\x01OrderID{number:010}\x02UNIQ_KEY\x017F0000010A2B18B4AAC2{number:012X}\x02WAIT\x01true\
         \x02TAGS\x01TagA\x02"
    );
    vec![
        ("a", "BenchmarkProducer".to_string()),
        ("b", topic.to_string()),
        ("c", "TBW102".to_string()),
        ("d", "4".to_string()),
        ("e", (number % QUEUES).to_string()),
        ("f", "0".to_string()),
        ("g", NOW_MS.to_string()),
        ("h", "0".to_string()),
        ("i", properties),
        ("j", "0".to_string()),
        ("k", "false".to_string()),
        ("m", "false".to_string()),
        ("n", "broker-a".to_string()),
    ]
}

fn binary_header(topic: &str, number: usize) -> Vec<u8> {
    let mut ext = Vec::new();
    for (name, value) in fields(topic, number) {
        ext.extend_from_slice(&(name.len() as u16).to_be_bytes());
        ext.extend_from_slice(name.as_bytes());
        ext.extend_from_slice(&(value.len() as u32).to_be_bytes());
        ext.extend_from_slice(value.as_bytes());
    }
    let mut out = vec![0x01, 0x36, 0, 0x01, 0xf5]; // 310, JAVA, version 501
    out.extend_from_slice(&(number as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]); // flag, no remark
    out.extend_from_slice(&(ext.len() as u32).to_be_bytes());
    out.extend_from_slice(&ext);
    out
}

fn json_header(topic: &str, number: usize) -> Vec<u8> {
    let member = |(name, value): (&str, String)| {
        let value = value.replace('\x01', "\\u0001").replace('\x02', "\\u0002");
        format!(r#""{name}":"{value}""#)
    };
    let members: Vec<String> = fields(topic, number).into_iter().map(member).collect();
    let text = format!(
        r#"{{"code":310,"extFields":{{{}}},"flag":0,"language":"JAVA","opaque":{number},"serializeTypeCurrentRPC":"JSON","version":501}}"#,
        members.join(",")
    );
    text.into_bytes()
}

/// A turn's frames, one behind the other.
fn chunk(is_binary: bool, topic: &dyn Fn(usize) -> String) -> Vec<u8> {
    let body: Vec<u8> = (0..128u8).map(|n| b'a' + n % 26).collect();
    let mut out = Vec::new();
    for number in 0..FRAMES {
        let topic = topic(number);
        let (kind, header) = match is_binary {
            true => (1u32, binary_header(&topic, number)),
            false => (0, json_header(&topic, number)),
        };
        out.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
        out.extend_from_slice(&(kind << 24 | header.len() as u32).to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&body);
    }
    out
}

fn open_lane(topics: usize) -> Lane {
    let mut lane = Lane::new(501);
    lane.set_terms(Some(Terms {
        accept_from_ms: 0,
        body_size_max: 4 << 20,
        properties_size_max: 32_767,
        refused_sys_flags: 0xC,
        suffix: "CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02"
            .into(),
        marks: vec![
            ("MSG_REGION".into(), "DefaultRegion".into()),
            ("TRACE_ON".into(), "true".into()),
        ],
        id_prefix: "7F00000100002A9F".into(),
        version: 501,
    }));
    for number in 0..topics {
        let topic = Topic {
            queue_count: QUEUES as i32,
            added_sys_flag: 0,
            may_batch: true,
        };
        lane.put_topic(&format!("BenchmarkTopic{number}"), topic);
    }
    lane
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_binary = arguments.get(1).is_none_or(|form| form == "binary");
    let number = |place: usize| arguments.get(place).and_then(|text| text.parse().ok());
    let turns: usize = number(2).unwrap_or(20_000);
    let topics: usize = number(3).unwrap_or(1);
    let shm = Path::new("/dev/shm");
    let parent = match shm.is_dir() {
        true => shm.to_path_buf(),
        false => std::env::temp_dir(),
    };
    let root: PathBuf = parent.join(format!("rmqlane-sends-{}", std::process::id()));
    let settings = Settings {
        sync_flush: false,
        flush_interval_ms: 3_600_000,
        slow_write_ms: u64::MAX,
        segment_size: 64 << 20,
        ..Settings::new(&root)
    };
    let engine = Engine::open(Arc::new(RealDisk), settings).unwrap();
    let mut lane = open_lane(topics);
    let connection = lane.open_connection(&[127, 0, 0, 1, 0, 0, 0x2a, 0x9f]);
    let mut scratch = String::new();
    let mut replies = 0;
    let chunks: Vec<Vec<u8>> = (0..topics.div_ceil(FRAMES))
        .map(|turn| {
            let topic =
                move |frame: usize| format!("BenchmarkTopic{}", (turn * FRAMES + frame) % topics);
            chunk(is_binary, &topic)
        })
        .collect();
    let (mut best, mut least) = (f64::MAX, 0);
    let began = Instant::now();
    for turn in 0..turns {
        let begun = Instant::now();
        let bytes = &chunks[turn % chunks.len()];
        let taken = take(&mut lane, &engine, connection, bytes, &mut scratch);
        assert_eq!(taken, FRAMES);
        engine.write().unwrap();
        lane.mark(NOW_MS);
        let now = engine.positions();
        lane.release(now.written, now.commit, NOW_MS);
        lane.take_ready(|_, count, _, out| {
            assert_eq!(count as usize, FRAMES);
            replies += out.len();
        });
        lane.take_puts();
        engine.take_arrivals();
        let took = begun.elapsed().as_nanos() as f64 / FRAMES as f64;
        if took < best {
            (best, least) = (took, turn);
        }
        // What is written of the log is not wanted any more: memory is short.
        let base = engine.positions().written / (64 << 20) * (64 << 20);
        if base >= 128 << 20 && turn % 1000 == 0 {
            let path = root.join(format!("commitlog/{:020}", base - (128 << 20)));
            drop(
                std::fs::OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(path),
            );
        }
    }
    let mean = began.elapsed().as_nanos() as f64 / (turns * FRAMES) as f64;
    println!("{mean:.0} ns a message, {best:.0} in turn {least}; {replies} bytes of replies");
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

fn take(
    lane: &mut Lane,
    engine: &Engine,
    connection: u32,
    bytes: &[u8],
    scratch: &mut String,
) -> usize {
    use rmqlane::Arrived;
    use rmqwire::frame::{next, Next};
    let (mut at, mut taken) = (0, 0);
    while let Next::Whole(found) = next(&bytes[at..], &LIMITS) {
        if lane.send(engine, connection, &found, 256, NOW_MS).is_some() {
            at += found.size;
            taken += 1;
            continue;
        }
        let decoded =
            rmqwire::header::decode(found.serialize_type, found.header, 256, scratch).unwrap();
        let arrived = Arrived {
            form: found.serialize_type,
            header: &decoded,
            scratch,
            body: found.body,
        };
        let request = lane.judge(&arrived, NOW_MS).unwrap();
        lane.take(engine, connection, &request, NOW_MS).unwrap();
        at += found.size;
        taken += 1;
    }
    taken
}
