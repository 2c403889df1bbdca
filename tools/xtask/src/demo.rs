//! The demonstration that needs no terminal: `cargo xtask run --headless`.
//!
//! Decides what is shown, and what counts as shown. A protected guest boots and keeps a secret in
//! its memory, of which it publishes a hash. From outside the machine (where neither host nor
//! hypervisor can lie) the secret is found in RAM. The host, with the raw power of its kernel, reads
//! its own memory there, and is refused the secret's pages and the hypervisor's. The guest then
//! proves that it still has the secret, reveals it, and everything powers off.
//!
//! Invariants: every step is checked here, in this program, and the first that does not hold ends
//! the demonstration with its reason; a refusal only counts once the same means of reading has
//! worked on memory that is the host's.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redoubt_qemu::{Launch, Qemu, Qmp, RAM_BASE, Vm};
use redoubt_suite::Artifacts;
use sha2::{Digest, Sha256};

use crate::cli::RunArgs;
use crate::run;
use crate::ui;

/// The longest that one step may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What the page with the guest's secret is full of, each followed by the secret and a newline.
const MARK: &[u8] = b"REDOUBT-GUEST-SECRET-PAGE:";
/// The secret is 32 bytes in hexadecimal.
const SECRET_LENGTH: usize = 64;
/// The size of a page.
const PAGE: usize = 4096;
/// How much memory is looked at in one piece.
const CHUNK: u64 = 64 * 1024 * 1024;
/// How the guest is started.
const GUEST: &str = "--protected --cpus 2 --memory 256M";
/// Texts that end the demonstration at once.
const FATAL: [&str; 3] = ["Kernel panic", "redoubt: fatal", "redoubt: cannot start"];

/// Runs the demonstration.
pub fn run(args: &RunArgs, artifacts: &Artifacts, qemu: &Qemu) -> Result<ExitCode> {
    let machine = run::machine(args, artifacts, "agent", std::slice::from_ref(&artifacts.hostile))?;
    let log = artifacts.logs.join("run-headless.log");
    ui::heading(&format!("Demonstration: {} CPUs {}, {} MiB", args.cpus, args.cpu, args.memory));
    let vm = Launch::new(qemu, &machine, &log).start()?;
    for text in FATAL {
        vm.console().fail_on(text);
    }
    let scratch = artifacts.scratch.join("memory");
    let mut demo = Demo { vm, ram_end: machine.ram_end(), scratch: &scratch };
    demo.all().with_context(|| format!("the log is {}", log.display()))?;
    println!("The guest's secret stayed its own.");
    Ok(ExitCode::SUCCESS)
}

/// A demonstration under way.
struct Demo<'a> {
    vm: Vm,
    ram_end: u64,
    scratch: &'a Path,
}

impl Demo<'_> {
    fn all(&mut self) -> Result<()> {
        ui::step("the host boots at EL1 above Redoubt", |_| {
            let ready = self.vm.wait_for("HOST ready: ", LIMIT)?;
            let host = self.rest_of(ready.line, "HOST ready: ")?;
            self.vm.wait_for("AGENT ready", LIMIT)?;
            Ok(((), host))
        })?;
        let commitment = ui::step("a protected guest boots to user space", |_| self.boot_guest())?;
        let mut qmp = self.vm.qmp()?;
        let (secret, pages) = ui::step("seen from outside, its secret is in RAM", |step| {
            step.detail("searching");
            let (secret, pages) = find_secret(&mut qmp, self.ram_end, self.scratch)?;
            let shown = pages.iter().map(|page| format!("{page:#x}")).collect::<Vec<_>>();
            Ok(((secret, pages), format!("at {}", shown.join(", "))))
        })?;
        ui::step("the host's kernel can read physical memory: its own", |_| {
            self.control(&mut qmp)
        })?;
        ui::step("the host's kernel cannot read the guest's secret", |_| {
            let mut why = String::new();
            for page in &pages {
                why = self.refused(page + (MARK.len() as u64).next_multiple_of(8))?;
            }
            Ok(((), why))
        })?;
        ui::step("the host's kernel cannot read the hypervisor", |_| {
            // EL2's memory is taken from the top of RAM.
            Ok(((), self.refused(self.ram_end - PAGE as u64)?))
        })?;
        ui::step("the guest proves that its secret is intact", |_| {
            self.proof(&commitment, &secret)
        })?;
        ui::step("guest and machine power off", |_| {
            self.vm.send("guest poweroff\n")?;
            let ended = self.vm.wait_for("AGENT guest ended: ", LIMIT)?;
            let line = self.rest_of(ended.line, "AGENT guest ended: ")?;
            if line != "0" {
                bail!("the guest's process ended with {line}");
            }
            self.vm.send("end\n")?;
            self.vm.wait_for("HOST done: 0", LIMIT)?;
            let status = self.vm.wait_exit(LIMIT)?;
            if !status.success() {
                bail!("QEMU ended with {status}");
            }
            Ok(((), String::new()))
        })
    }

    /// Starts the guest; returns the hash of its secret.
    fn boot_guest(&mut self) -> Result<(String, String)> {
        self.vm.send(&format!("start {GUEST}\n"))?;
        let commitment = "GUEST guest: secret in memory, sha256 ";
        let mut banner = String::new();
        let hash = self.vm.console().follow(LIMIT, |line| {
            if let Some(up) = line.strip_prefix("GUEST guest: up: ") {
                banner = up.to_owned();
            }
            if line.starts_with("AGENT guest ended") {
                return Some(Err(anyhow::anyhow!("{line}{}", self.vm.console().tail())));
            }
            line.strip_prefix(commitment).map(|hash| Ok(hash.trim().to_owned()))
        })??;
        self.vm.wait_for("GUEST guest: ready", LIMIT)?;
        if !banner.contains("2 CPUs") {
            bail!("the guest says of itself: \"{banner}\", but it was given 2 CPUs");
        }
        println!("     guest's console | up: {banner}");
        println!("     guest's console | secret in memory, sha256 {hash}");
        Ok((hash, String::new()))
    }

    /// Reads a piece of the host's own kernel by the same means, and compares with outside.
    fn control(&mut self, qmp: &mut Qmp) -> Result<((), String)> {
        self.vm.send("kernel\n")?;
        let found = self.vm.wait_for("AGENT kernel ", LIMIT)?;
        let line = self.rest_of(found.line, "AGENT kernel ")?;
        let address = u64::from_str_radix(line.trim(), 16)
            .with_context(|| format!("\"{line}\" is no address"))?;
        let outside = qmp.read_memory(address, 8, self.scratch)?;
        let answer = self.peek(address)?;
        let Some(read) = answer.strip_prefix("read: ") else {
            bail!("the host cannot even read its own memory at {address:#x}: {answer}");
        };
        let value = u64::from_str_radix(read.trim().trim_start_matches("0x"), 16)
            .with_context(|| format!("\"{read}\" is no value"))?;
        if value.to_le_bytes()[..] != outside[..] {
            bail!("the host reads {value:#x} at {address:#x}, outside it is {outside:x?}");
        }
        Ok(((), format!("{value:#018x} at {address:#x}")))
    }

    /// Lets the host read at `address`, which must be refused; returns what it says.
    fn refused(&mut self, address: u64) -> Result<String> {
        let answer = self.peek(address)?;
        match answer.strip_prefix("refused: ") {
            Some(why) => Ok(format!("{address:#x}: {why}")),
            None => bail!("the host was not refused {address:#x}: {answer}"),
        }
    }

    fn peek(&mut self, address: u64) -> Result<String> {
        self.vm.send(&format!("peek {address:#x}\n"))?;
        let prefix = format!("AGENT peek {address:#x} ");
        let found = self.vm.wait_for(&prefix, LIMIT)?;
        self.rest_of(found.line, &prefix)
    }

    /// Asks for a proof with a fresh number, then for the secret, and checks both.
    fn proof(&mut self, commitment: &str, seen: &str) -> Result<((), String)> {
        let nonce = random()?;
        self.vm.send(&format!("guest prove {nonce}\n"))?;
        let proof = self.answer("GUEST guest: proof ")?;
        self.vm.send("guest reveal\n")?;
        let secret = self.answer("GUEST guest: secret ")?;
        if hash(&secret) != commitment {
            bail!("the secret is not the one whose hash the guest published");
        }
        if hash(&format!("{nonce}{secret}")) != proof {
            bail!("the guest's proof is wrong");
        }
        if secret != seen {
            bail!("the guest's secret is not what was seen in RAM");
        }
        Ok(((), format!("sha256(number, secret) = {}...", &proof[..16])))
    }

    fn answer(&self, prefix: &str) -> Result<String> {
        let found = self.vm.wait_for(prefix, LIMIT)?;
        self.rest_of(found.line, prefix)
    }

    /// What stands behind `prefix` in a line of which only a part may have come.
    fn rest_of(&self, line: String, prefix: &str) -> Result<String> {
        let rest = self.vm.console().follow(LIMIT, |rest| Some(rest.to_owned()));
        let whole = rest.unwrap_or_else(|_| behind(&line, prefix));
        Ok(whole.trim().to_owned())
    }
}

/// The pages of RAM that hold the guest's secret, and the secret.
fn find_secret(qmp: &mut Qmp, ram_end: u64, scratch: &Path) -> Result<(String, Vec<u64>)> {
    let (mut secret, mut pages) = (None, Vec::new());
    let mut at = RAM_BASE;
    while at < ram_end {
        let size = CHUNK.min(ram_end - at);
        let memory = qmp.read_memory(at, size, scratch)?;
        for (index, page) in memory.chunks_exact(PAGE).enumerate() {
            if let Some(found) = secret_in(page) {
                if *secret.get_or_insert_with(|| found.clone()) != found {
                    bail!("there are two secrets in RAM");
                }
                pages.push(at + (index * PAGE) as u64);
            }
        }
        at += size;
    }
    Ok((secret.context("the guest's secret is nowhere in RAM")?, pages))
}

/// The secret in a page that is full of it.
fn secret_in(page: &[u8]) -> Option<String> {
    let secret = page.strip_prefix(MARK)?.get(..SECRET_LENGTH)?;
    let again = page.get(MARK.len() + SECRET_LENGTH + 1..)?;
    if !secret.iter().all(u8::is_ascii_hexdigit) || !again.starts_with(MARK) {
        return None;
    }
    String::from_utf8(secret.to_vec()).ok()
}

fn behind(line: &str, prefix: &str) -> String {
    line.split(prefix).nth(1).unwrap_or_default().trim().to_owned()
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number that nobody could know before.
fn random() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    //! Finding the secret, and hashing as `sha256sum` does.

    use super::{MARK, PAGE, hash, secret_in};

    fn page(secret: &str) -> Vec<u8> {
        let mut line = MARK.to_vec();
        line.extend_from_slice(secret.as_bytes());
        line.push(b'\n');
        line.iter().copied().cycle().take(PAGE).collect()
    }

    #[test]
    fn only_a_page_full_of_the_secret_counts() {
        let secret = "0123456789abcdef".repeat(4);
        assert_eq!(secret_in(&page(&secret)).as_deref(), Some(secret.as_str()));
        assert_eq!(secret_in(&page("no secret")), None);
        assert_eq!(secret_in(&page(&secret)[1..]), None);
        let mut once = page(&secret);
        once[MARK.len() + 70..].fill(0);
        assert_eq!(secret_in(&once), None);
        assert_eq!(secret_in(MARK), None);
    }

    #[test]
    fn hashes_are_in_hexadecimal() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(""), empty);
    }
}
