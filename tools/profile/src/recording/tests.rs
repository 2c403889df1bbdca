use super::*;

const HEAD: &str = r#"{"recording":1,"privileged":2,"api":4}"#;
const PHASE: &str = r#"{"phase":1,"instructions":[0,2,6,0],"entries":[{"from":1,"slot":8,"ec":22,"origin":"host","count":5},{"from":1,"slot":9,"ec":null,"origin":"guest","count":1}],"executed":[[7,1,2,0],[9,0,0,2]]}"#;
const SEGMENTS: &str =
    r#"{"segments":[[7,2,4096,8192,"d503201fd65f03c0"],[9,1,16384,16384,"D65F03C0"]]}"#;
const END: &str = r#"{"end":true}"#;

fn parse(lines: &[&str]) -> Result<Recording> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Recording::parse(text.as_bytes())
}

fn error(lines: &[&str]) -> String {
    format!("{:#}", parse(lines).expect_err("the recording is refused"))
}

#[test]
fn a_whole_recording_is_read() {
    let recording = parse(&[HEAD, PHASE, SEGMENTS, END]).unwrap();
    assert_eq!((recording.privileged, recording.api), (2, 4));
    let Recording { phases, segments, .. } = &recording;
    assert_eq!(segments.len(), 2);
    assert_eq!(
        segments[0],
        Segment { level: 2, va: 4096, pa: 8192, opcodes: [0xd503_201f, 0xd65f_03c0].into() }
    );
    assert_eq!(phases[0].mark, 1);
    assert_eq!(phases[0].instructions, [0, 2, 6, 0]);
    // By index, although the file numbers them otherwise.
    assert_eq!(phases[0].executed[1], Executed { segment: 1, counts: [0, 0, 2] });
    let entry = Entries { from: 1, slot: 8, class: Some(22), origin: Origin::Host, count: 5 };
    assert_eq!(phases[0].entries[0], entry);
    assert_eq!(phases[0].entries[1].class, None);
    assert_eq!(recording.phases_of(1).count(), 1);
    assert_eq!(recording.phases_of(2).count(), 0);
}

#[test]
fn totals_alone_are_a_recording() {
    let totals = r#"{"phase":65535,"instructions":[9,8,7,0],"entries":[],"executed":[]}"#;
    let recording = parse(&[HEAD, totals, END]).unwrap();
    assert_eq!(recording.phases[0].mark, FROM_RESET);
    assert!(recording.segments.is_empty());
}

#[test]
fn segments_may_stand_anywhere() {
    let first = parse(&[HEAD, SEGMENTS, PHASE, END]).unwrap();
    assert_eq!(first, parse(&[HEAD, PHASE, SEGMENTS, END]).unwrap());
}

#[test]
fn a_recording_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let whole = format!("{HEAD}\n{PHASE}\n{SEGMENTS}\n{END}\n");
    assert!(Recording::parse(whole.as_bytes()).is_ok());
    for length in 1..whole.len() {
        let error = Recording::parse(&whole.as_bytes()[..length]).expect_err("it is cut off");
        let error = format!("{error:#}");
        assert!(error.contains("cut off before its end"), "{length}: {error}");
    }
    assert!(error(&[]).contains("is empty"));
}

#[test]
fn another_version_is_named() {
    let error = error(&[r#"{"recording":2,"privileged":2,"api":4}"#, END]);
    assert!(error.contains("version 2, and 1 is understood"), "{error}");
}

#[test]
fn what_is_no_recording_is_refused() {
    for (lines, expected) in [
        (&[END][..], "does not begin with"),
        (&["hello", END], "line 1"),
        (&[r#"{"recording":1,"privileged":2}"#, END], "plugin's API is missing"),
        (&[r#"{"recording":1,"privileged":3,"api":4}"#, END], "EL3 cannot be"),
        (&[HEAD, r#"{"recorded":1}"#, END], "unknown field `recorded`"),
        (&[HEAD, HEAD, END], "neither a phase"),
        (&[HEAD, r#"{"end":false}"#], "neither a phase"),
        (&[HEAD, r#"{"phase":1,"instructions":[0,0,0,0]}"#, END], "neither a phase"),
        (&[HEAD, END, PHASE], "line 3: there is more after the end"),
    ] {
        let error = error(lines);
        assert!(error.contains(expected), "{lines:?}: {error}");
    }
}

#[test]
fn bad_references_are_named() {
    assert!(error(&[HEAD, PHASE, END]).contains("phase 1 executed segment 7, which is nowhere"));
    let twice = error(&[HEAD, SEGMENTS, SEGMENTS, END]);
    assert!(twice.contains("segment 7 is there twice"), "{twice}");
}

#[test]
fn bad_segments_are_named() {
    for (segment, expected) in [
        (r#"[1,4,0,0,"d503201f"]"#, "segment 1 ran at EL4"),
        (r#"[1,2,2,0,"d503201f"]"#, "segment 1 is not aligned"),
        (r#"[1,2,0,1,"d503201f"]"#, "segment 1 is not aligned"),
        (r#"[1,2,0,0,""]"#, "multiple of 8"),
        (r#"[1,2,0,0,"d503201"]"#, "multiple of 8"),
        (r#"[1,2,0,0,"d503201g"]"#, "not hexadecimal"),
        (r#"[1,2,0,0,"+503201f"]"#, "not hexadecimal"),
        (r#"[1,2,18446744073709551612,0,"d503201fd503201f"]"#, "beyond the last address"),
    ] {
        let error = error(&[HEAD, &format!(r#"{{"segments":[{segment}]}}"#), END]);
        assert!(error.contains(expected), "{segment}: {error}");
    }
    let last = r#"{"segments":[[1,2,18446744073709551612,0,"d503201f"]]}"#;
    assert!(parse(&[HEAD, last, END]).is_ok());
}

#[test]
fn bad_entries_are_named() {
    for (entry, expected) in [
        (r#""from":4,"slot":8,"ec":1"#, "from EL4"),
        (r#""from":1,"slot":16,"ec":1"#, "slot 16 of 16"),
        (r#""from":1,"slot":9,"ec":1"#, "slot 9 with exception class Some(1)"),
        (r#""from":1,"slot":8,"ec":null"#, "slot 8 with exception class None"),
        (r#""from":1,"slot":8,"ec":64"#, "exception class Some(64)"),
    ] {
        let phase = format!(
            r#"{{"phase":1,"instructions":[0,0,0,0],"entries":[{{{entry},"origin":"host","count":1}}],"executed":[]}}"#
        );
        let error = error(&[HEAD, &phase, END]);
        assert!(error.contains(expected), "{entry}: {error}");
    }
    let nobody = r#"{"phase":1,"instructions":[0,0,0,0],"entries":[{"from":1,"slot":8,"ec":1,"origin":"cat","count":1}],"executed":[]}"#;
    assert!(error(&[HEAD, nobody, END]).contains("unknown variant `cat`"));
}

#[test]
fn counts_have_to_add_up() {
    let less = PHASE.replace("[0,2,6,0]", "[0,2,5,0]");
    let error = error(&[HEAD, &less, SEGMENTS, END]);
    assert!(error.contains("add up to [0, 2, 6, 0]"), "{error}");
    let many = PHASE.replace("[7,1,2,0]", &format!("[7,{},1,0]", u64::MAX));
    let error = self::error(&[HEAD, &many, SEGMENTS, END]);
    assert!(error.contains("overflow"), "{error}");
    let half =
        r#"{"phase":1,"instructions":[0,0,0,9223372036854775808],"entries":[],"executed":[]}"#;
    assert!(parse(&[HEAD, half, END]).is_ok());
    let error = self::error(&[HEAD, half, half, END]);
    assert!(error.contains("out of range"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Recording::read(Path::new("no/such/recording")).expect_err("it is not there");
    assert!(format!("{error:#}").contains("cannot open the recording no/such/recording"));
}

#[test]
fn recordings_are_the_same_if_each_instruction_ran_equally_often() {
    let recording = |executed: &str, segments: &str| {
        let phase = PHASE.replace("[[7,1,2,0],[9,0,0,2]]", executed);
        let segments = format!(r#"{{"segments":[{segments}]}}"#);
        parse(&[HEAD, &phase, &segments, END]).unwrap()
    };
    const TWO: &str = r#"[7,2,4096,8192,"d503201fd65f03c0"],[9,1,16384,16384,"d65f03c0"]"#;
    let first = recording("[[7,1,2,0],[9,0,0,2]]", TWO);
    first.same_as(&first).unwrap();
    // Another order, and the first segment cut in two on one of its three runs.
    const CUT: &str = r#"[0,1,16384,16384,"d65f03c0"],[1,2,4100,8196,"d65f03c0"],[2,2,4096,8192,"d503201f"],[3,2,4096,8192,"d503201fd65f03c0"]"#;
    first.same_as(&recording("[[0,0,0,2],[1,1,0,0],[2,1,0,0],[3,0,2,0]]", CUT)).unwrap();

    let differs = |executed: &str, segments: &str| {
        let other = recording(executed, segments);
        let error = first.same_as(&other).expect_err("they differ");
        assert_eq!(format!("{error}"), format!("{}", other.same_as(&first).unwrap_err()));
        format!("{error}")
    };
    // On another's behalf; elsewhere; another instruction.
    let who = differs("[[7,2,1,0],[9,0,0,2]]", TWO);
    assert!(
        who.contains("phase 0 (mark 1): d503201f at 0x1000 ran [1, 2, 0] times at EL2"),
        "{who}"
    );
    assert!(differs("[[7,1,2,0],[9,0,0,2]]", &TWO.replace("4096", "4128")).contains("0x1000"));
    assert!(differs("[[7,1,2,0],[9,0,0,2]]", &TWO.replace("8192", "8224")).contains("0x1000"));
    assert!(differs("[[7,1,2,0],[9,0,0,2]]", &TWO.replace("1f", "3f")).contains("d503201f"));

    let entries = PHASE.replace(r#""count":5"#, r#""count":4"#);
    let entries = parse(&[HEAD, &entries, SEGMENTS, END]).unwrap();
    assert!(format!("{}", first.same_as(&entries).unwrap_err()).contains("the entries differ"));
    let more = parse(&[HEAD, PHASE, PHASE, SEGMENTS, END]).unwrap();
    assert!(format!("{}", first.same_as(&more).unwrap_err()).contains("the phases differ"));
    let nothing = r#"{"phase":1,"instructions":[0,2,6,0],"entries":[{"from":1,"slot":8,"ec":22,"origin":"host","count":5},{"from":1,"slot":9,"ec":null,"origin":"guest","count":1}],"executed":[]}"#;
    let nothing = parse(&[HEAD, nothing, END]).unwrap();
    assert!(format!("{}", first.same_as(&nothing).unwrap_err()).contains("more code"));
}
