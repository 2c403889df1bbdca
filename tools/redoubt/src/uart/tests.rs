//! Tests of the UART against the data sheet, and with arbitrary accesses.

use super::*;

const DATA: u64 = register::DATA as u64;
const IER: u64 = register::IER as u64;
const IIR: u64 = register::IIR_FCR as u64;
const LCR: u64 = register::LCR as u64;
const MCR: u64 = register::MCR as u64;
const LSR: u64 = register::LSR as u64;
const MSR: u64 = register::MSR as u64;
const SCR: u64 = register::SCR as u64;

fn output(uart: &mut Uart) -> Vec<u8> {
    let mut bytes = Vec::new();
    uart.take_output(&mut bytes, usize::MAX);
    bytes
}

#[test]
fn reset_state() {
    let mut uart = Uart::new();
    assert_eq!(uart.read(IER), 0);
    assert_eq!(uart.read(IIR), IIR_NONE);
    assert_eq!(uart.read(LSR), LSR_TX_HOLDING_EMPTY | LSR_TX_IDLE);
    assert!(!uart.interrupt_asserted());
    assert!(!uart.has_output());
}

#[test]
fn sends_in_order() {
    let mut uart = Uart::new();
    for byte in b"hello" {
        uart.write(DATA, *byte);
    }
    assert!(uart.has_output());
    let mut first = Vec::new();
    uart.take_output(&mut first, 2);
    assert_eq!(first, b"he");
    assert_eq!(output(&mut uart), b"llo");
    assert!(!uart.has_output());
}

#[test]
fn receives_in_order_and_asserts_only_when_enabled() {
    let mut uart = Uart::new();
    assert_eq!(uart.receive(b"ab"), 2);
    assert!(!uart.interrupt_asserted());
    uart.write(IER, IER_RX_AVAILABLE);
    assert!(uart.interrupt_asserted());
    assert_eq!(uart.read(IIR), IIR_RX_AVAILABLE);
    assert!(uart.interrupt_asserted(), "reading the cause does not acknowledge received data");
    assert_eq!(uart.read(LSR) & LSR_DATA_READY, LSR_DATA_READY);
    assert_eq!(uart.read(DATA), b'a');
    assert!(uart.interrupt_asserted());
    assert_eq!(uart.read(DATA), b'b');
    assert!(!uart.interrupt_asserted());
    assert_eq!(uart.read(LSR) & LSR_DATA_READY, 0);
    assert_eq!(uart.read(DATA), 0, "an empty receiver reads as zero");
}

#[test]
fn receiver_is_bounded_and_tells_what_it_took() {
    let mut uart = Uart::new();
    assert_eq!(uart.receive(&[7; RX_CAPACITY + 5]), RX_CAPACITY);
    assert_eq!(uart.receive_room(), 0);
    assert_eq!(uart.receive(b"x"), 0);
    uart.read(DATA);
    assert_eq!(uart.receive_room(), 1);
    uart.write(IIR, FCR_ENABLE | FCR_CLEAR_RX);
    assert_eq!(uart.receive_room(), RX_CAPACITY);
}

#[test]
fn transmitter_interrupt_follows_the_data_sheet() {
    let mut uart = Uart::new();
    uart.write(IER, IER_TX_EMPTY);
    assert!(uart.interrupt_asserted(), "enabling with an empty transmitter raises it");
    assert_eq!(uart.read(IIR), IIR_TX_EMPTY);
    assert!(!uart.interrupt_asserted(), "reading the cause acknowledges it");
    assert_eq!(uart.read(IIR), IIR_NONE);
    uart.write(IER, IER_TX_EMPTY);
    assert!(!uart.interrupt_asserted(), "writing the same value is not enabling");
    uart.write(IER, 0);
    uart.write(IER, IER_TX_EMPTY);
    assert!(uart.interrupt_asserted(), "off and on again raises it");
    uart.read(IIR);
    uart.write(DATA, b'x');
    assert!(uart.interrupt_asserted(), "the byte was sent at once");
}

#[test]
fn received_data_is_reported_before_the_transmitter() {
    let mut uart = Uart::new();
    uart.write(IER, IER_RX_AVAILABLE | IER_TX_EMPTY);
    uart.receive(b"r");
    assert_eq!(uart.read(IIR), IIR_RX_AVAILABLE);
    uart.read(DATA);
    assert_eq!(uart.read(IIR), IIR_TX_EMPTY);
    assert_eq!(uart.read(IIR), IIR_NONE);
}

#[test]
fn full_output_queue_looks_like_a_busy_transmitter() {
    let mut uart = Uart::new();
    uart.write(IER, IER_TX_EMPTY);
    for _ in 0..TX_CAPACITY {
        assert!(uart.can_send());
        uart.write(DATA, b'.');
    }
    assert!(!uart.can_send());
    assert_eq!(uart.read(LSR) & (LSR_TX_HOLDING_EMPTY | LSR_TX_IDLE), 0);
    assert!(!uart.interrupt_asserted());
    uart.write(DATA, b'!');
    let mut some = Vec::new();
    uart.take_output(&mut some, 1);
    assert!(!uart.interrupt_asserted(), "one byte of room is not a FIFO's worth");
    uart.take_output(&mut some, TX_ROOM);
    assert!(uart.interrupt_asserted(), "room again raises the transmitter interrupt");
    assert_eq!(uart.read(LSR) & LSR_TX_HOLDING_EMPTY, LSR_TX_HOLDING_EMPTY);
    let rest = output(&mut uart);
    assert_eq!(some.len() + rest.len(), TX_CAPACITY, "the byte beyond the queue was dropped");
    assert!(some.iter().chain(&rest).all(|&byte| byte == b'.'));
}

#[test]
fn divisor_latch_hides_data_and_interrupt_enable() {
    let mut uart = Uart::new();
    uart.write(IER, IER_RX_AVAILABLE);
    uart.write(LCR, LCR_DLAB | 3);
    uart.write(DATA, 0x34);
    uart.write(IER, 0x12);
    assert_eq!((uart.read(DATA), uart.read(IER)), (0x34, 0x12));
    uart.write(LCR, 3);
    assert_eq!(uart.read(IER), IER_RX_AVAILABLE);
    assert!(!uart.has_output());
}

#[test]
fn loopback_returns_data_and_modem_lines() {
    let mut uart = Uart::new();
    assert_eq!(uart.read(MSR), MSR_CTS | MSR_DSR | MSR_DCD);
    uart.write(MCR, MCR_LOOP | 0x0a);
    assert_eq!(uart.read(MSR), MSR_CTS | MSR_DCD);
    uart.write(MCR, MCR_LOOP | 0x05);
    assert_eq!(uart.read(MSR), MSR_DSR | 1 << 6);
    uart.write(DATA, b'L');
    assert!(!uart.has_output());
    assert_eq!(uart.read(DATA), b'L');
}

#[test]
fn plain_registers_keep_their_bits() {
    let mut uart = Uart::new();
    uart.write(SCR, 0xa5);
    uart.write(IER, 0xff);
    uart.write(MCR, 0xff);
    assert_eq!(uart.read(SCR), 0xa5);
    assert_eq!(uart.read(IER), 0x0f);
    assert_eq!(uart.read(MCR), 0x1f);
    uart.write(IIR, FCR_ENABLE);
    assert_eq!(uart.read(IIR) & IIR_FIFO_ENABLED, IIR_FIFO_ENABLED);
    uart.write(LSR, 0xff);
    assert_eq!(uart.read(LSR), LSR_TX_HOLDING_EMPTY | LSR_TX_IDLE);
}

#[test]
fn offsets_beyond_the_registers_are_inert() {
    let mut uart = Uart::new();
    for offset in [8, 255, 256, 0x1_0000_0000, u64::MAX] {
        uart.write(offset, 0xff);
        assert_eq!(uart.read(offset), 0);
    }
    assert!(!uart.has_output());
    assert_eq!(uart.read(IER), 0);
}

/// A hostile guest: any sequence of accesses leaves the queues bounded and the line consistent
/// with the cause register.
#[test]
fn arbitrary_accesses_keep_the_invariants() {
    let mut uart = Uart::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..300_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let [offset, value, action, ..] = random.to_le_bytes();
        match action % 8 {
            0 => drop(uart.read(u64::from(offset % 10))),
            1 => drop(uart.receive(&[value; 9])),
            2 if value == 0 => drop(output(&mut uart)),
            _ => uart.write(u64::from(offset % 10), value),
        }
        assert!(uart.rx.len() <= RX_CAPACITY);
        assert!(uart.tx.len() <= TX_CAPACITY);
        let asserted = uart.interrupt_asserted();
        assert_eq!(uart.interrupt_id() != IIR_NONE, asserted);
        if asserted {
            assert_ne!(uart.interrupt_enable & 3, 0, "no interrupt that is not enabled");
        }
    }
}
