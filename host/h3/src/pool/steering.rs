//! The filter with which the kernel chooses a member: a classic BPF program that decrypts the connection ID.
//!
//! It is attached to the sockets of the port, sees the payload of each datagram, and answers with the number of a
//! socket. For a number without a socket, the kernel falls back to the hash of the addresses, which is right for
//! datagrams that begin a connection.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN,
    BPF_LSH, BPF_MEM, BPF_MISC, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_SUB, BPF_TAX, BPF_W, BPF_X, BPF_XOR, sock_filter,
    sock_fprog,
};

use super::cid::{self, CidKey};

const BPF_A: u32 = 0x10;

/// The program's answer if it must not interpret the connection ID.
pub(super) const NO_MEMBER: u32 = u32::MAX;

/// The scratch words that hold the halves of the block.
const X: u32 = 0;
const Y: u32 = 1;

/// A short header: one byte, and then the connection ID (RFC 9000 section 17.3).
const SHORT_CID: u32 = 1;
/// A long header: first byte, version, length, and then the connection ID (RFC 9000 section 17.2).
const LONG_CID: u32 = 6;
const LONG_CID_LENGTH: u32 = 5;
/// The type in the first byte of a long header of version 1 (RFC 9000 section 17.2). A client sends Handshake packets
/// only to a connection ID that a server has chosen; those of Initial and 0-RTT may be its own.
const TYPE_BITS: u32 = 0x30;
const HANDSHAKE: u32 = 0x20;

/// Makes the program for a key. It has no loop and ends within 4096 instructions, as every classic BPF program must.
pub(super) fn program(key: &CidKey) -> Vec<sock_filter> {
    let mut program = Program::default();
    // A load beyond the end would answer 0, which is a member.
    program.push(BPF_LD | BPF_W | BPF_LEN, 0);
    program.branch(BPF_JGE, LONG_CID + cid::LENGTH as u32, 1, 0);
    program.push(BPF_RET | BPF_K, NO_MEMBER);
    program.push(BPF_LD | BPF_B | BPF_ABS, 0);
    program.branch(BPF_JSET, cid::LONG_HEADER.into(), LOAD_ID as u8 + 1, 0);
    program.load_id(SHORT_CID);
    program.push(BPF_JMP | BPF_JA, 5 + LOAD_ID);
    program.push(BPF_ALU | BPF_AND | BPF_K, TYPE_BITS);
    program.branch(BPF_JEQ, HANDSHAKE, 0, 2);
    program.push(BPF_LD | BPF_B | BPF_ABS, LONG_CID_LENGTH);
    program.branch(BPF_JEQ, cid::LENGTH as u32, 1, 0);
    program.push(BPF_RET | BPF_K, NO_MEMBER);
    program.load_id(LONG_CID);
    for round_key in key.0.round_keys.iter().rev() {
        program.decryption_round(*round_key);
    }
    // `x` is in A, and the member in its upper half.
    program.push(BPF_ALU | BPF_RSH | BPF_K, 16);
    program.push(BPF_RET | BPF_A, 0);
    program.0
}

/// The instructions of [`Program::load_id`].
const LOAD_ID: u32 = 4;

#[derive(Default)]
struct Program(Vec<sock_filter>);

impl Program {
    fn push(&mut self, code: u32, k: u32) {
        // Every code is below 256.
        self.0.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
    }

    /// Compares A with a constant, and skips the given number of instructions.
    fn branch(&mut self, comparison: u32, k: u32, if_true: u8, if_false: u8) {
        let code = (BPF_JMP | comparison | BPF_K) as u16;
        self.0.push(sock_filter { code, jt: if_true, jf: if_false, k });
    }

    /// Loads both halves of the connection ID; the second stays in A.
    fn load_id(&mut self, offset: u32) {
        self.push(BPF_LD | BPF_W | BPF_ABS, offset);
        self.push(BPF_ST, X);
        self.push(BPF_LD | BPF_W | BPF_ABS, offset + 4);
        self.push(BPF_ST, Y);
    }

    /// Performs one round of `Speck::decrypt`: `x` and `y` are in the scratch words before and after, `x` in A too.
    fn decryption_round(&mut self, key: u32) {
        // y = (y ^ x) >>> 3
        self.push(BPF_LD | BPF_W | BPF_MEM, Y);
        self.push(BPF_LDX | BPF_W | BPF_MEM, X);
        self.push(BPF_ALU | BPF_XOR | BPF_X, 0);
        self.rotate_left(29, Y);
        // x = ((x ^ key) - y) <<< 8; the new y is in A.
        self.push(BPF_MISC | BPF_TAX, 0);
        self.push(BPF_LD | BPF_W | BPF_MEM, X);
        self.push(BPF_ALU | BPF_XOR | BPF_K, key);
        self.push(BPF_ALU | BPF_SUB | BPF_X, 0);
        self.rotate_left(8, X);
    }

    /// Rotates A through a scratch word, which then also holds the result.
    fn rotate_left(&mut self, bits: u32, word: u32) {
        self.push(BPF_ST, word);
        self.push(BPF_ALU | BPF_LSH | BPF_K, bits);
        self.push(BPF_MISC | BPF_TAX, 0);
        self.push(BPF_LD | BPF_W | BPF_MEM, word);
        self.push(BPF_ALU | BPF_RSH | BPF_K, 32 - bits);
        self.push(BPF_ALU | BPF_OR | BPF_X, 0);
        self.push(BPF_ST, word);
    }
}

/// Attaches the program to the sockets that share a port with this one.
///
/// # Errors
/// The kernel does not know such programs, the process may not attach them, or `net.core.optmem_max` is too low.
pub(super) fn attach(socket: &impl AsRawFd, program: &[sock_filter]) -> io::Result<()> {
    let length = program.len().try_into().expect("a few hundred instructions");
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the descriptor is open as long as `socket` lives; the option takes a `sock_fprog` of the given size,
    // whose pointer and length are those of a slice that outlives the call; the kernel copies the program and changes
    // nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::pool::bind;

    const SHORT: &[u8] = &[0x41];
    const HANDSHAKE: &[u8] = &[0xe1, 0, 0, 0, 1, 8];

    fn datagram(head: &[u8], cid: &[u8]) -> Vec<u8> {
        [head, cid, b"enough to be a packet"].concat()
    }

    /// Runs the program as the kernel would. It supports only the instructions that the program uses.
    fn run(program: &[sock_filter], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
        let load = |offset: u32, size: usize| {
            let bytes = packet.get(offset as usize..offset as usize + size)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let code = u32::from(code);
            let operand = if code & BPF_X == 0 { k } else { x };
            at += 1;
            match code & 0x07 {
                BPF_LD => {
                    let value = match code & 0xe0 {
                        BPF_ABS => load(k, if code & 0x18 == BPF_W { 4 } else { 1 }),
                        BPF_LEN => Some(packet.len() as u32),
                        BPF_MEM => Some(memory[k as usize]),
                        mode => panic!("mode {mode:#x}"),
                    };
                    let Some(value) = value else { return 0 };
                    a = value;
                }
                BPF_LDX => x = memory[k as usize],
                BPF_ST => memory[k as usize] = a,
                BPF_ALU => {
                    a = match code & 0xf0 {
                        BPF_AND => a & operand,
                        BPF_LSH => a << operand,
                        BPF_OR => a | operand,
                        BPF_RSH => a >> operand,
                        BPF_SUB => a.wrapping_sub(operand),
                        BPF_XOR => a ^ operand,
                        operation => panic!("operation {operation:#x}"),
                    }
                }
                BPF_JMP => {
                    let holds = match code & 0xf0 {
                        BPF_JA => {
                            at += k as usize;
                            continue;
                        }
                        BPF_JEQ => a == operand,
                        BPF_JGE => a >= operand,
                        BPF_JSET => a & operand != 0,
                        comparison => panic!("comparison {comparison:#x}"),
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                BPF_RET => return if code & 0x18 == BPF_A { a } else { k },
                BPF_MISC => x = a,
                class => panic!("class {class:#x}"),
            }
        }
    }

    #[test]
    fn the_program_agrees_with_the_cipher() {
        let key = CidKey::random().expect("randomness");
        let program = program(&key);
        assert!(program.len() <= 4096, "{}", program.len());
        for random in 0..200_u64 {
            let member = (random * 37 % 1024) as u16;
            let cid = key.encode(member, random << 20);
            for head in [SHORT, HANDSHAKE] {
                assert_eq!(run(&program, &datagram(head, &cid)), u32::from(member));
            }
        }
    }

    #[test]
    fn what_a_client_may_have_chosen_is_left_to_the_hash() {
        let key = CidKey::random().expect("randomness");
        let program = program(&key);
        let cid = key.encode(1, 0);
        let initial = [0xc1, 0, 0, 0, 1, 8];
        let zero_rtt = [0xd1, 0, 0, 0, 1, 8];
        let long_id = [0xe1, 0, 0, 0, 1, 9];
        for head in [&initial[..], &zero_rtt, &long_id] {
            assert_eq!(run(&program, &datagram(head, &cid)), NO_MEMBER);
        }
        for length in 0..14 {
            assert_eq!(run(&program, &datagram(SHORT, &cid)[..length]), NO_MEMBER);
        }
    }

    #[test]
    fn the_kernel_obeys() {
        let key = CidKey::random().expect("randomness");
        let sockets = bind::udp((Ipv4Addr::LOCALHOST, 0).into(), 5).expect("a port");
        if let Err(error) = attach(&sockets[0], &program(&key)) {
            eprintln!("SKIPPED: the kernel takes no program for a port: {error}");
            return;
        }
        let address = sockets[0].local_addr().expect("an address");
        for socket in &sockets {
            socket.set_nonblocking(false).expect("an option");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("an option");
        }
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        for random in 0..100_u64 {
            let member = random as usize % 5;
            let sent = datagram(if random % 2 == 0 { SHORT } else { HANDSHAKE }, &key.encode(member as u16, random));
            client.send_to(&sent, address).expect("it is sent");
            let mut received = [0; 100];
            let length = sockets[member].recv(&mut received).expect("it comes to the member that it names");
            assert_eq!(received[..length], sent);
        }
        // A datagram that names no member goes by the addresses: from one client always to the same socket.
        let mut reached = HashSet::new();
        for _ in 0..20 {
            client.send_to(&datagram(&[0xc1, 0, 0, 0, 1, 8], b"12345678"), address).expect("it is sent");
        }
        for (member, socket) in sockets.iter().enumerate() {
            socket.set_nonblocking(true).expect("an option");
            while socket.recv(&mut [0; 100]).is_ok() {
                reached.insert(member);
            }
        }
        assert_eq!(reached.len(), 1, "{reached:?}");
    }
}
