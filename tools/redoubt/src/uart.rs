//! A 16550A UART: the registers, the two queues behind them, and the level of the interrupt line.
//!
//! Pure state: no I/O, no locks, no clock. The guest's accesses come in through [`Uart::read`] and
//! [`Uart::write`]; the user's side through [`Uart::receive`] and [`Uart::take_output`]; the line's
//! level is a function of the state, so it cannot get out of step. Everything the guest does is
//! untrusted: any access in any order is defined, and both queues are bounded.
//!
//! Differences from the chip: sending takes no time (until the queue to stdout is full, which the
//! guest sees as a transmitter that is busy), line and modem status never change by themselves.
//! Spec: National Semiconductor PC16550D data sheet, section 8.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// The UART's input clock, as told in the device tree.
pub const CLOCK_HZ: u32 = 1_843_200;

/// Bytes that the receiver holds.
pub const RX_CAPACITY: usize = 64;
/// Bytes that wait for stdout at most.
pub const TX_CAPACITY: usize = 64 * 1024;
/// A driver that sees the transmitter empty sends a FIFO's worth at once, so that much room must be
/// left when it is told so.
const TX_ROOM: usize = 16;

/// Register offsets; with `LCR.DLAB` set, 0 and 1 are the divisor.
mod register {
    pub const DATA: u8 = 0;
    pub const IER: u8 = 1;
    pub const IIR_FCR: u8 = 2;
    pub const LCR: u8 = 3;
    pub const MCR: u8 = 4;
    pub const LSR: u8 = 5;
    pub const MSR: u8 = 6;
    pub const SCR: u8 = 7;
}

const IER_RX_AVAILABLE: u8 = 1 << 0;
const IER_TX_EMPTY: u8 = 1 << 1;
const IER_MASK: u8 = 0x0f;

const IIR_NONE: u8 = 0x01;
const IIR_TX_EMPTY: u8 = 0x02;
const IIR_RX_AVAILABLE: u8 = 0x04;
const IIR_FIFO_ENABLED: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RX: u8 = 1 << 1;

const LCR_DLAB: u8 = 1 << 7;

const MCR_LOOP: u8 = 1 << 4;
const MCR_MASK: u8 = 0x1f;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_TX_HOLDING_EMPTY: u8 = 1 << 5;
const LSR_TX_IDLE: u8 = 1 << 6;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_DCD: u8 = 1 << 7;

/// The UART's state.
#[derive(Debug)]
pub struct Uart {
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    fifo_enabled: bool,
    /// The transmitter became empty since the guest last heard of it.
    tx_empty_pending: bool,
    rx: VecDeque<u8>,
    tx: VecDeque<u8>,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// Creates a UART as it is after reset: interrupts off, queues empty, 9600 baud.
    pub fn new() -> Self {
        Self {
            interrupt_enable: 0,
            line_control: 0x03,
            modem_control: 0,
            scratch: 0,
            divisor: [12, 0],
            fifo_enabled: false,
            tx_empty_pending: false,
            rx: VecDeque::with_capacity(RX_CAPACITY),
            tx: VecDeque::new(),
        }
    }

    /// Tells whether the interrupt line is asserted.
    pub fn interrupt_asserted(&self) -> bool {
        self.interrupt_id() != IIR_NONE
    }

    /// Reads a register as the guest does, with the side effects that has. Offsets beyond the
    /// eight registers read as zero.
    pub fn read(&mut self, offset: u64) -> u8 {
        let Ok(offset) = u8::try_from(offset) else {
            return 0;
        };
        match offset {
            register::DATA if self.divisor_selected() => self.divisor[0],
            register::IER if self.divisor_selected() => self.divisor[1],
            register::DATA => self.rx.pop_front().unwrap_or(0),
            register::IER => self.interrupt_enable,
            register::IIR_FCR => self.read_interrupt_id(),
            register::LCR => self.line_control,
            register::MCR => self.modem_control,
            register::LSR => self.line_status(),
            register::MSR => self.modem_status(),
            register::SCR => self.scratch,
            _ => 0,
        }
    }

    /// Writes a register as the guest does. Writes to read-only registers and beyond the eight
    /// registers are ignored, as is a byte sent while the transmitter is busy.
    pub fn write(&mut self, offset: u64, value: u8) {
        let Ok(offset) = u8::try_from(offset) else {
            return;
        };
        match offset {
            register::DATA if self.divisor_selected() => self.divisor[0] = value,
            register::IER if self.divisor_selected() => self.divisor[1] = value,
            register::DATA => self.send(value),
            register::IER => self.write_interrupt_enable(value),
            register::IIR_FCR => {
                self.fifo_enabled = value & FCR_ENABLE != 0;
                if value & FCR_CLEAR_RX != 0 {
                    self.rx.clear();
                }
            }
            register::LCR => self.line_control = value,
            register::MCR => self.modem_control = value & MCR_MASK,
            register::SCR => self.scratch = value,
            _ => {}
        }
    }

    /// Returns how many bytes can be received now.
    pub fn receive_room(&self) -> usize {
        RX_CAPACITY.saturating_sub(self.rx.len())
    }

    /// Tells whether the guest has asked to hear of received bytes. A driver that starts up empties
    /// the receiver first, so what is received before that is lost.
    pub fn is_listening(&self) -> bool {
        self.interrupt_enable & IER_RX_AVAILABLE != 0
    }

    /// Receives bytes from the user; returns how many there was room for.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.receive_room());
        self.rx.extend(&bytes[..count]);
        count
    }

    /// Tells whether something waits to be written to stdout.
    pub fn has_output(&self) -> bool {
        !self.tx.is_empty()
    }

    /// Tells whether the guest may send another byte.
    pub fn can_send(&self) -> bool {
        self.tx.len() < TX_CAPACITY
    }

    /// Moves up to `limit` bytes that the guest sent into `output`.
    pub fn take_output(&mut self, output: &mut Vec<u8>, limit: usize) {
        let was_ready = self.transmitter_ready();
        let count = self.tx.len().min(limit);
        output.extend(self.tx.drain(..count));
        if !was_ready && self.transmitter_ready() {
            self.tx_empty_pending = true;
        }
    }

    fn divisor_selected(&self) -> bool {
        self.line_control & LCR_DLAB != 0
    }

    fn transmitter_ready(&self) -> bool {
        self.tx.len() + TX_ROOM <= TX_CAPACITY
    }

    fn send(&mut self, byte: u8) {
        if self.modem_control & MCR_LOOP != 0 {
            self.receive(&[byte]);
        } else if self.can_send() {
            self.tx.push_back(byte);
        }
        self.tx_empty_pending = self.transmitter_ready();
    }

    /// Turning the transmitter's interrupt on while there is room raises it at once; drivers start
    /// sending that way.
    fn write_interrupt_enable(&mut self, value: u8) {
        let newly_enabled = value & !self.interrupt_enable;
        self.interrupt_enable = value & IER_MASK;
        if newly_enabled & IER_TX_EMPTY != 0 && self.transmitter_ready() {
            self.tx_empty_pending = true;
        }
    }

    /// The most urgent interrupt that is pending and enabled.
    fn interrupt_id(&self) -> u8 {
        if self.interrupt_enable & IER_RX_AVAILABLE != 0 && !self.rx.is_empty() {
            IIR_RX_AVAILABLE
        } else if self.interrupt_enable & IER_TX_EMPTY != 0 && self.tx_empty_pending {
            IIR_TX_EMPTY
        } else {
            IIR_NONE
        }
    }

    /// Reading the cause acknowledges a transmitter interrupt, and only that.
    fn read_interrupt_id(&mut self) -> u8 {
        let id = self.interrupt_id();
        if id == IIR_TX_EMPTY {
            self.tx_empty_pending = false;
        }
        id | if self.fifo_enabled { IIR_FIFO_ENABLED } else { 0 }
    }

    fn line_status(&self) -> u8 {
        let rx = if self.rx.is_empty() { 0 } else { LSR_DATA_READY };
        let tx = if self.transmitter_ready() { LSR_TX_HOLDING_EMPTY | LSR_TX_IDLE } else { 0 };
        rx | tx
    }

    /// In loopback the modem control outputs feed the modem status inputs; otherwise the other end
    /// is always there and ready.
    fn modem_status(&self) -> u8 {
        if self.modem_control & MCR_LOOP == 0 {
            return MSR_CTS | MSR_DSR | MSR_DCD;
        }
        let mcr = self.modem_control;
        let (dtr, rts, outputs) = (mcr & 1, (mcr >> 1) & 1, (mcr >> 2) & 3);
        (rts << 4) | (dtr << 5) | (outputs << 6)
    }
}
