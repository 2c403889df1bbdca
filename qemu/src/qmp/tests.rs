//! The protocol against a scripted peer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::Qmp;

/// A peer that greets, then answers each request with the next of `answers` (lines).
fn peer(answers: Vec<&'static str>) -> (UnixStream, JoinHandle<Vec<Value>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || {
        writeln!(theirs, r#"{{"QMP": {{"version": {{}}}}}}"#).unwrap();
        let mut requests = Vec::new();
        let mut reader = BufReader::new(theirs.try_clone().unwrap());
        for answer in ["{\"return\": {}}"].into_iter().chain(answers) {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            requests.push(serde_json::from_str(&line).unwrap());
            writeln!(theirs, "{answer}").unwrap();
        }
        requests
    });
    (ours, thread)
}

#[test]
fn sends_arguments_and_returns_the_answer() {
    let (stream, thread) = peer(vec![r#"{"return": {"status": "running"}}"#, r#"{"return": "x"}"#]);
    let mut qmp = Qmp::greet(stream).unwrap();
    assert_eq!(qmp.status().unwrap(), "running");
    assert_eq!(qmp.monitor("info cpus").unwrap(), "x");
    drop(qmp);
    let requests = thread.join().unwrap();
    assert_eq!(requests[0], json!({ "execute": "qmp_capabilities" }));
    assert_eq!(requests[1], json!({ "execute": "query-status" }));
    assert_eq!(requests[2]["arguments"], json!({ "command-line": "info cpus" }));
}

#[test]
fn keeps_events_that_come_before_an_answer() {
    let answers = concat!(
        "{\"event\": \"RESUME\"}\n",
        "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\n",
        "{\"return\": {}}"
    );
    let (stream, thread) = peer(vec![answers]);
    let mut qmp = Qmp::greet(stream).unwrap();
    qmp.resume().unwrap();
    assert_eq!(qmp.wait_event("SHUTDOWN").unwrap(), json!({ "reason": "guest-reset" }));
    thread.join().unwrap();
}

#[test]
fn tells_why_qemu_refuses() {
    let refusal = r#"{"error": {"class": "GenericError", "desc": "no such command"}}"#;
    let (stream, thread) = peer(vec![refusal]);
    let error = Qmp::greet(stream).unwrap().stop().unwrap_err().to_string();
    assert_eq!(error, "QEMU refuses `stop`: no such command");
    thread.join().unwrap();
}

#[test]
fn notices_the_end_and_other_protocols() {
    let (stream, thread) = peer(vec![]);
    let mut qmp = Qmp::greet(stream).unwrap();
    thread.join().unwrap();
    assert!(qmp.stop().is_err());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    writeln!(theirs, "{{}}").unwrap();
    assert!(Qmp::greet(ours).unwrap_err().to_string().contains("no QMP socket"));
}
