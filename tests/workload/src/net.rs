//! The network: TCP and UDP over loopback, and QEMU's user-mode gateway behind a network card.
//!
//! The gateway is cut off from every real network, but answers by itself: ICMP echo requests, and
//! TFTP requests (UDP) with an error, for it serves no files. One packet at a time is on its way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use crate::{Check, failed, last_error, mark};

/// Bytes that go over a TCP connection and back, in pieces.
const TCP_BYTES: usize = 512 << 10;
const PIECE: usize = 16 << 10;
/// Connections that carry one byte.
const CONNECTIONS: u64 = 16;
/// Datagrams over loopback, and their size.
const DATAGRAMS: u64 = 64;
const DATAGRAM: usize = 1200;
/// Requests to the gateway of each kind, and the size of an echo request.
const REQUESTS: u64 = 48;
const ECHO: usize = 1400;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A datagram to the gateway is TFTP's.
const TFTP: u16 = 69;

/// Answers one connection: sends back whatever comes.
fn serve(listener: &TcpListener) -> Check {
    let (mut stream, _) = listener.accept().map_err(failed("accept"))?;
    let mut piece = [0; PIECE];
    loop {
        match stream.read(&mut piece).map_err(failed("TCP read"))? {
            0 => return Ok(()),
            count => stream.write_all(&piece[..count]).map_err(failed("TCP write"))?,
        }
    }
}

/// Sends `bytes` over a new connection, piece by piece, each of which comes back.
fn converse(to: std::net::SocketAddr, bytes: usize) -> Check<u64> {
    let mut stream = TcpStream::connect(to).map_err(failed("connect"))?;
    stream.set_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    let mut sent = 0;
    let mut back = [0; PIECE];
    while sent < bytes {
        let size = PIECE.min(bytes - sent);
        let piece = [(sent / PIECE) as u8; PIECE];
        stream.write_all(&piece[..size]).map_err(failed("TCP write"))?;
        stream.read_exact(&mut back[..size]).map_err(failed("TCP read"))?;
        if back[..size] != piece[..size] {
            return Err("TCP over loopback changed what was sent".into());
        }
        sent += size;
    }
    Ok(sent as u64)
}

fn tcp() -> Check<u64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("bind"))?;
    let address = listener.local_addr().map_err(failed("local address"))?;
    let server = thread::spawn(move || (0..=CONNECTIONS).try_for_each(|_| serve(&listener)));
    let mut bytes = converse(address, TCP_BYTES)?;
    for _ in 0..CONNECTIONS {
        bytes += converse(address, 1)?;
    }
    server.join().map_err(|_| "the server panicked")??;
    Ok(bytes)
}

fn udp() -> Check<u64> {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("bind"));
    let (one, other) = (bind()?, bind()?);
    let address = |socket: &UdpSocket| socket.local_addr().map_err(failed("local address"));
    one.connect(address(&other)?).map_err(failed("connect"))?;
    other.connect(address(&one)?).map_err(failed("connect"))?;
    other.set_read_timeout(Some(PATIENCE)).map_err(failed("timeout"))?;
    let mut bytes = 0;
    for number in 0..DATAGRAMS {
        let sent = [number as u8; DATAGRAM];
        one.send(&sent).map_err(failed("UDP send"))?;
        let mut got = [0; DATAGRAM];
        if other.recv(&mut got).map_err(failed("UDP receive"))? != DATAGRAM || got != sent {
            return Err("UDP over loopback changed what was sent".into());
        }
        bytes += DATAGRAM as u64;
    }
    Ok(bytes)
}

/// Asks the gateway for files that it does not have.
fn gateway_udp(gateway: Ipv4Addr) -> Check<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("bind"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed("timeout"))?;
    for number in 0..REQUESTS {
        // A read request (RFC 1350): the opcode, a name, the mode.
        let request = format!("\0\x01no-such-file-{number}\0octet\0");
        socket.send_to(request.as_bytes(), (gateway, TFTP)).map_err(failed("UDP send"))?;
        let mut answer = [0; 600];
        let count = socket.recv(&mut answer).map_err(failed("UDP from the gateway"))?;
        // Opcode 5 is an error.
        if count < 4 || answer[..2] != [0, 5] {
            return Err("the gateway's answer to a TFTP request is none".into());
        }
    }
    Ok(REQUESTS)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// An echo request (RFC 792) with a number.
fn echo_request(number: u64) -> [u8; ECHO] {
    let mut packet = [0x5a; ECHO];
    packet[..4].copy_from_slice(&[8, 0, 0, 0]);
    packet[4..8].copy_from_slice(&(number as u32).to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A raw socket for ICMP, sending to the gateway and patient for a while.
fn icmp_socket(gateway: Ipv4Addr) -> Check<UdpSocket> {
    // SAFETY: takes numbers only.
    let socket = unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP)
    };
    if socket < 0 {
        return Err(last_error("ICMP socket"));
    }
    // SAFETY: the descriptor was opened above and is nobody else's.
    let owner = unsafe { OwnedFd::from_raw_fd(socket) };
    // The type is for datagrams; what it does with its descriptor fits a raw socket as well.
    let socket = UdpSocket::from(owner);
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed("timeout"))?;
    socket.connect((gateway, 0)).map_err(failed("connect"))?;
    Ok(socket)
}

fn gateway_icmp(gateway: Ipv4Addr) -> Check<u64> {
    let socket = icmp_socket(gateway)?;
    for number in 0..REQUESTS {
        let packet = echo_request(number);
        socket.send(&packet).map_err(failed("ICMP send"))?;
        let mut answered = false;
        // Other messages may come in between.
        for _ in 0..16 {
            let mut answer = [0; ECHO + 60];
            let count = socket.recv(&mut answer).map_err(failed("ICMP from the gateway"))?;
            // Behind an IP header of 20 bytes.
            if count == ECHO + 20 && answer[20] == 0 && answer[24..28] == packet[4..8] {
                answered = true;
                break;
            }
        }
        if !answered {
            return Err("the gateway does not answer echo requests".into());
        }
    }
    Ok(REQUESTS)
}

/// Runs the workload between two marks.
pub fn run(gateway: Option<Ipv4Addr>) -> Check {
    mark::phase(1)?;
    let tcp = tcp()?;
    let udp = udp()?;
    let (datagrams, echoes) = match gateway {
        Some(gateway) => (gateway_udp(gateway)?, gateway_icmp(gateway)?),
        None => (0, 0),
    };
    mark::phase(0)?;
    println!(
        "DID net tcp_bytes={tcp} udp_bytes={udp} gateway_datagrams={datagrams} \
         gateway_echoes={echoes}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Loopback, which is everywhere, and packets.

    use super::{checksum, echo_request, run};

    #[test]
    fn loopback_carries_everything() {
        run(None).unwrap();
    }

    #[test]
    fn an_echo_request_sums_to_nothing() {
        let packet = echo_request(7);
        assert_eq!(&packet[4..8], &[0, 0, 0, 7]);
        // Over a packet with its checksum in place the sum is zero.
        assert_eq!(checksum(&packet), 0);
    }
}
