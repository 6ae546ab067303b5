#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

const STORE_HOST: [u8; 8] = [127, 0, 0, 1, 0, 0, 0x2a, 0x9f];
const BORN_HOST: [u8; 8] = [10, 0, 0, 1, 0, 0, 0x04, 0xd2];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Made by Apache's encoder: topic TopicTest, body Hello, queue 3, queue offset 42, position 1000.
fn golden() -> Vec<u8> {
    hex(
        "0000007e daa320a7 77d18982 00000003 00000000 000000000000002a 00000000000003e8 00000000 \
         0000018bcfe56800 0a000001000004d2 0000018bcfe56801 7f00000100002a9f 00000000 \
         0000000000000000 00000005 48656c6c6f 09 546f70696354657374 0015 \
         4b455953016b31206b3202 54414753015461674102",
    )
}

fn message<'a>(topic: &'a [u8], body: &'a [u8], properties: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        queue_id: 3,
        body,
        properties,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1_700_000_000_000,
        born_host: &BORN_HOST,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    }
}

fn place(store_host: &[u8]) -> Place<'_> {
    Place {
        queue_offset: 42,
        log_offset: 1000,
        store_timestamp_ms: 1_700_000_000_001,
        store_host,
    }
}

#[test]
fn a_record_has_the_bytes_apache_gives_it() {
    let message = message(b"TopicTest", b"Hello", b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02");
    let mut out = Vec::new();
    encode(&message, &place(&STORE_HOST), &mut out);
    assert_eq!(out, golden());
    assert_eq!(out.len(), encoded_size(&message, &STORE_HOST));
    assert_eq!(body_crc(b"Hello"), 2_010_220_930);
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let bytes = golden();
    let Found::Record(found) = parse(&bytes, 1000, 4096, true) else {
        panic!("not found")
    };
    assert_eq!(
        (found.size, found.queue_id, found.queue_offset),
        (126, 3, 42)
    );
    assert_eq!(
        (found.body, found.topic),
        (&b"Hello"[..], &b"TopicTest"[..])
    );
    assert_eq!(found.properties, b"KEYS\x01k1 k2\x02TAGS\x01TagA\x02");
    assert_eq!(found.store_timestamp_ms, 1_700_000_000_001);
    assert_eq!(
        store_timestamp(&bytes[..STORE_TIME_PREFIX]),
        Some(1_700_000_000_001)
    );
}

#[test]
fn a_captured_record_of_a_live_server_is_valid() {
    let captured = hex(
        "00000117daa320a7686a18cd00000001000000000000000000000000000000000000000000000000000001a1 \
         fb98afcd7f0000010000db60000001a1fb98b3257f000001000084770000000000000000000000000000000b \
         48656c6c6f204d6574615109546f7069635465737400a84d53475f524547494f4e0144656661756c74526567 \
         696f6e02554e49515f4b45590146443030303030303030303030303030303030303030303030303030303030 \
         3235334542333039343645303936373330433741453030303002434c55535445520144656661756c74436c75 \
         7374657202544147530154616741024b455953014f7264657249443138380257414954017472756502610135 \
         0254524143455f4f4e017472756502",
    );
    assert_eq!(captured.len(), 279);
    let Found::Record(found) = parse(&captured, 0, 1 << 30, true) else {
        panic!("not found")
    };
    let marks = scan_properties(found.properties);
    assert_eq!(
        marks.unique_key,
        b"FD00000000000000000000000000000253EB30946E096730C7AE0000"
    );
    assert_eq!((marks.tags, marks.keys), (&b"TagA"[..], &b"OrderID188"[..]));
    assert_eq!(tag_field(found.topic, &marks, 0, &[]), 2_598_919);
}

#[test]
fn long_topics_and_ipv6_hosts_change_the_layout() {
    let topic = [b't'; 128];
    let host = [9u8; 20];
    let message = Message {
        born_host: &host,
        ..message(&topic, b"", b"")
    };
    let mut out = Vec::new();
    encode(&message, &place(&host), &mut out);
    assert_eq!(out[4..8], MAGIC_V2.to_be_bytes());
    assert_eq!(out[36..40], 0x30u32.to_be_bytes());
    let Found::Record(found) = parse(&out, 1000, 4096, true) else {
        panic!("not found")
    };
    assert_eq!((found.topic, found.size), (&topic[..], out.len()));
    assert_eq!(store_timestamp(&out), Some(1_700_000_000_001));
}

#[test]
fn every_flipped_bit_that_matters_is_noticed() {
    let good = golden();
    let accepted: Vec<usize> = (0..good.len() * 8)
        .filter(|&bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            matches!(parse(&bytes, 1000, 4096, true), Found::Record(_))
        })
        .map(|bit| bit / 8)
        .collect();
    // Fields no checksum covers: queue id, flag, queue offset, sysFlag, times, hosts, texts.
    for at in accepted {
        assert!(
            (12..28).contains(&at) || (36..84).contains(&at) || at >= 94,
            "byte {at}"
        );
    }
}

#[test]
fn a_cut_record_asks_for_the_rest_and_a_lying_size_is_not_believed() {
    let good = golden();
    for cut in 0..good.len() {
        assert!(
            matches!(parse(&good[..cut], 1000, 4096, true), Found::Partial(_)),
            "{cut}"
        );
    }
    let mut lying = good.clone();
    lying[0] = 0x3F;
    assert_eq!(
        parse(&lying, 1000, 4096, true),
        Found::Bad("total size out of range")
    );
    assert!(matches!(
        parse(&lying, 1000, 1 << 30, true),
        Found::Bad(_) | Found::Partial(_)
    ));
    assert_eq!(
        parse(&lying, 1001, 1 << 31, true),
        Found::Bad("physical offset differs from its position")
    );
    assert_eq!(
        parse(&good, 1000, 133, true),
        Found::Bad("total size out of range")
    );
    assert!(matches!(parse(&good, 1000, 134, true), Found::Record(_)));
}

#[test]
fn the_blank_record_fills_exactly_the_rest_of_its_segment() {
    let mut blank = Vec::new();
    encode_blank(500, &mut blank);
    assert_eq!(blank, hex("000001f4 cbd43194"));
    assert_eq!(parse(&blank, 0, 500, true), Found::Blank);
    assert!(matches!(parse(&blank, 0, 501, true), Found::Bad(_)));
    assert_eq!(
        parse(&[0; 8], 0, 500, true),
        Found::Bad("nothing written here")
    );
}

#[test]
fn properties_are_read_as_apache_reads_them() {
    let marks = scan_properties(b"TAGS\x01a\x02KEYS\x01\x02UNIQ_KEY\x01u\x02TAGS\x01b");
    assert_eq!(
        (marks.tags, marks.keys, marks.unique_key),
        (&b"b"[..], &b""[..], &b"u"[..])
    );
    assert_eq!(
        scan_properties(b"TAGSX\x01a\x02XTAGS\x01b\x02TAGS\x02"),
        Marks::default()
    );
    assert_eq!(scan_properties(b"a\x01TAGS\x01x\x02"), Marks::default());
    assert_eq!(scan_properties(b"TAGS\x01x\x01y\x02").tags, b"x\x01y");
    assert_eq!(scan_properties(b"\x02\x02\x01\x02"), Marks::default());
}

#[test]
fn hashes_are_those_of_java_strings() {
    assert_eq!(java_hash(0, b"TagA"), 2_598_919);
    assert_eq!(java_hash(0, "中文".as_bytes()), 646_394);
    assert_eq!(java_hash(0, "😀".as_bytes()), 1_772_899); // a surrogate pair
    assert_eq!(
        java_hash(java_hash(0, b"Top"), b"ic"),
        java_hash(0, b"Topic")
    );
    assert_eq!(java_hash(0, b""), 0);
    let text: Vec<u8> = (0..100u8).map(|number| 27 + number).collect();
    for size in 0..text.len() {
        let simple = text[..size].iter().fold(7i32, |hash, &byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        });
        assert_eq!(java_hash(7, &text[..size]), simple);
    }
}

#[test]
fn a_delay_queue_carries_the_time_of_delivery() {
    let levels = [1000, 5000];
    let field = |topic: &[u8], text: &[u8]| tag_field(topic, &scan_properties(text), 100, &levels);
    let schedule = b"SCHEDULE_TOPIC_XXXX";
    assert_eq!(field(schedule, b"DELAY\x012\x02TAGS\x01TagA"), 5100);
    assert_eq!(field(schedule, b"DELAY\x0199\x02"), 5100);
    assert_eq!(field(schedule, b"DELAY\x010\x02TAGS\x01TagA"), 2_598_919);
    assert_eq!(field(schedule, b"DELAY\x01soon\x02TAGS\x01TagA"), 2_598_919);
    assert_eq!(field(b"Other", b"DELAY\x012\x02"), 0);
}
