//! Stores and regions that count, and threads that sleep and work.

use super::{is_notification, notifies, settle, still};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_store_of_16_bits_notifies() {
    // strh w1, [x0]; strh w2, [x3, #2]
    assert!(notifies(0x7900_0001) && notifies(0x7900_0462));
    // str w1, [x0]; strb w1, [x0]; ldrh w1, [x0]; nop
    assert!([0xb900_0001, 0x3900_0001, 0x7940_0001, 0xd503_201f].iter().all(|&op| !notifies(op)));
}

#[test]
fn only_the_region_for_notices_counts() {
    assert!(is_notification(b"virtio-pci-notify-virtio-blk"));
    assert!(!is_notification(b"virtio-pci-common-virtio-blk") && !is_notification(b""));
}

#[test]
fn a_thread_that_works_is_waited_for() {
    static WORKS: AtomicBool = AtomicBool::new(true);
    let worker = thread::spawn(|| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        WORKS.store(false, Relaxed);
        // Sleeps, as QEMU's threads do when there is nothing to do.
        thread::sleep(Duration::from_secs(1));
    });
    settle().unwrap();
    assert!(!WORKS.load(Relaxed));
    worker.join().unwrap();
}

#[test]
fn the_caller_itself_does_not_count() {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    let start = Instant::now();
    while !still(own).unwrap() {
        assert!(start.elapsed() < Duration::from_secs(60), "other tests of this process go on");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!still("no thread").unwrap());
}
