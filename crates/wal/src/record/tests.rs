use super::*;

struct Words(Vec<Vec<u8>>);

impl Record for Words {
    fn events(&self) -> usize {
        self.0.len()
    }

    fn event_bytes(&self, event: usize) -> usize {
        self.0[event].len() + 1
    }

    fn encode(&self, parts: &mut Parts) {
        for (index, word) in self.0.iter().enumerate() {
            parts.copy(b">");
            parts.keep(index, word);
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        &self.0[part]
    }
}

/// Decoding gives back what was encoded, and refuses every cut and every addition.
fn check<T: PartialEq + std::fmt::Debug>(
    value: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    assert_eq!(decode(bytes).as_ref(), Some(value));
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), None, "cut at {length}: {value:?}");
    }
    assert_eq!(decode(&[bytes, &[0]].concat()), None, "one byte more: {value:?}");
    for fill in [0u8, 0x80, 0xff] {
        // Whatever comes of it, neither a panic nor a huge allocation does.
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] = fill;
            decode(&bad);
        }
    }
}

fn origin(position: usize) -> Origin {
    Origin { sender: [7; 16], epoch: 2, sequence: 99, position: vec![b'p'; position] }
}

#[test]
fn puts_come_back() {
    for (events, queues, origin) in [
        (1, vec![(0, 1)], None),
        (1000, vec![(0, 1), (7, 1 << 40)], Some(origin(0))),
        (7, vec![], Some(origin(MOST_POSITION))),
    ] {
        let inflated = (events % 2 == 0).then_some(events * 100);
        let meta = PutMeta { events, queues, origin, inflated, take: None };
        check(&meta, &meta.encode(), PutMeta::decode);
        for ranges in [vec![], vec![5..9, 20..1 << 50]] {
            let take = Some(TakeMeta { queue: 3, ranges });
            let meta = PutMeta { take, ..meta.clone() };
            check(&meta, &meta.encode(), PutMeta::decode);
        }
    }
    let plain = |events, first| PutMeta {
        events,
        queues: vec![(0, first)],
        origin: None,
        inflated: None,
        take: None,
    };
    let refused = [
        (plain(2, u64::MAX).encode(), "numbers that overflow"),
        (plain(0, 1).encode(), "no events"),
        ([&plain(1, 1).encode()[..16], &[8]].concat(), "a flag of another time"),
    ];
    for (bytes, what) in refused {
        assert_eq!(PutMeta::decode(&bytes), None, "{what}");
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
fn takes_come_back() {
    for ranges in [vec![], vec![1..2], vec![5..9, 20..1 << 50]] {
        let meta = TakeMeta { queue: 3, ranges };
        check(&meta, &meta.encode(), TakeMeta::decode);
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
fn cursors_come_back() {
    let entry = SegmentEntry {
        number: 4,
        first_lsn: 10,
        last_lsn: 90,
        end: 1 << 20,
        events: 300,
        times: (5, 6),
        queues: vec![SegmentQueue { queue: 0, numbers: 1..301, bytes: 77 }],
    };
    let queue = QueueCursor { next: 301, taken: Taken::new(7, [9..12]) };
    let cursor = CursorMeta {
        queues: vec![(0, queue), (2, QueueCursor::default())],
        origins: vec![LastOf { origin: origin(3), seen: 8 }],
        watermarks: vec![90, 4],
        segments: vec![entry.clone(), SegmentEntry { queues: vec![], ..entry }],
        voids: vec![],
    };
    check(&cursor, &cursor.encode(), CursorMeta::decode);
    let void = Void { directory: 1, segment: 4, above: 90 };
    let with = CursorMeta { voids: vec![void, Void { directory: 0, ..void }], ..cursor.clone() };
    let (bytes, least) = (with.encode(), cursor.encode().len());
    assert_eq!(CursorMeta::decode(&bytes), Some(with));
    for cut in least + 1..bytes.len() {
        assert_eq!(CursorMeta::decode(&bytes[..cut]), None, "cut at {cut}");
    }
    check(&CursorMeta::default(), &CursorMeta::default().encode(), CursorMeta::decode);
}

#[test]
fn a_body_is_its_lengths_and_its_events_whatever_was_copied() {
    let small = vec![b"one".to_vec(), vec![], b"three".to_vec()];
    let large = vec![vec![1; COPY_BELOW], b"x".to_vec(), vec![2; COPY_BELOW * 3], vec![3; 9]];
    for words in [small, large] {
        let record = Words(words);
        let body = Body::of(&record, Compression::None).expect("a body");
        let bytes = body.slices(&record).collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), body.bytes);
        assert_eq!(crc32c(&bytes), body.crc);
        let offsets = event_offsets(&bytes, record.0.len() as u32).expect("offsets");
        for (index, word) in record.0.iter().enumerate() {
            let event = &bytes[offsets[index] as usize..offsets[index + 1] as usize];
            assert_eq!(event, [b">", &word[..]].concat());
        }
        for length in 0..bytes.len() {
            assert_eq!(event_offsets(&bytes[..length], record.0.len() as u32), None);
        }
    }
    assert!(Body::of(&Words(vec![]), Compression::None).is_none(), "no events");
}
