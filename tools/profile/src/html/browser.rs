//! The page in a real browser.
//!
//! Decides whether the page works: headless Chromium opens it, the page goes through its own states and says
//! what was laid out (`html/selfcheck.js`), and that must be what the report inside the page asks for, at each
//! width, in light and dark. Then screenshots must show it: every bar and every rectangle in its colour.
//!
//! Invariants: the expectation is computed here from the report, not by the script; a page that says nothing
//! fails. The browser gets a new profile each time and is ended after [`LIMIT`].
//!
//! Trusts the browser to lay out and to paint.

mod pixels;
mod verify;

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use self::verify::Selfcheck;
use super::data;
use crate::model::Report;

/// How long one run of the browser may take.
const LIMIT: Duration = Duration::from_secs(240);
/// How much of the page's own time may pass, in milliseconds.
const BUDGET_MS: u32 = 10_000;
/// A window of the browser is at least this wide: what is narrower stands in a frame.
const NARROWEST: u32 = 500;
/// The browser paints no image that is higher.
const HIGHEST: u32 = 16_000;

/// A way to look at the page. In the dark only colours differ, so that the page's states are gone through in
/// the light alone.
#[derive(Clone, Copy, Debug)]
struct View {
    name: &'static str,
    width: u32,
    dark: bool,
}

const VIEWS: [View; 5] = [
    View { name: "wide-light", width: 1280, dark: false },
    View { name: "wide-dark", width: 1280, dark: true },
    View { name: "tablet-light", width: 768, dark: false },
    View { name: "phone-light", width: 390, dark: false },
    View { name: "phone-dark", width: 390, dark: true },
];

/// What the browser showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserReport {
    /// States of the page that were looked at, all views together.
    pub states: usize,
    /// Bars that were drawn: in all states of all views.
    pub bars: usize,
    /// Rectangles of treemaps that were drawn: in all states of all views.
    pub rectangles: usize,
    /// Labels that were measured.
    pub labels: usize,
    /// Points whose colour was compared with the screenshots.
    pub samples: usize,
    /// The screenshots.
    pub screenshots: Vec<PathBuf>,
}

/// Opens the page in headless Chromium and checks it: at the widths of a desk, a tablet and a phone, in light
/// and dark. Screenshots and what else the browser leaves are in `scratch`.
///
/// # Errors
/// If a chart is empty or draws another number of bars or rectangles than the report asks for; a label is cut,
/// overlaps another or leaves its chart or the page; a rectangle overlaps another; a script failed; the
/// screenshot does not show the charts; or the browser cannot be run.
pub fn check_in_browser(page: &Path, chromium: &Path, scratch: &Path) -> Result<BrowserReport> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let report = data::extract(&text)?;
    fs::create_dir_all(scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let browser = Browser { chromium, page: url(page)?, scratch: fs::canonicalize(scratch)? };
    let mut total = BrowserReport {
        states: 0,
        bars: 0,
        rectangles: 0,
        labels: 0,
        samples: 0,
        screenshots: Vec::new(),
    };
    for view in VIEWS {
        let check = browser
            .check(view, &report, &mut total)
            .with_context(|| format!("the page as {} ({} wide)", view.name, view.width))?;
        total.screenshots.push(check);
    }
    Ok(total)
}

struct Browser<'a> {
    chromium: &'a Path,
    page: String,
    scratch: PathBuf,
}

impl Browser<'_> {
    fn check(&self, view: View, report: &Report, total: &mut BrowserReport) -> Result<PathBuf> {
        let tested =
            self.address(view, 2_000, if view.dark { "#selftest-here" } else { "#selftest" })?;
        let budget = format!("--virtual-time-budget={BUDGET_MS}");
        let dump = self.run(view, 1000, &["--dump-dom", &budget], &tested)?;
        fs::write(self.scratch.join(format!("{}.dom.html", view.name)), &dump)?;
        let check = Selfcheck::find(&dump)?;
        verify::verify(&check, report, view.width, view.dark)?;

        let height = check.height.min(HIGHEST);
        let picture = self.scratch.join(format!("{}.png", view.name));
        if picture.exists() {
            fs::remove_file(&picture)?;
        }
        let plain = self.address(view, height, "")?;
        let option = format!("--screenshot={}", picture.display());
        self.run(view, height, &[&option, &budget], &plain)?;
        let picture_seen = pixels::Picture::read(&picture)?;
        pixels::verify(&picture_seen, &check, view.dark, report)?;

        total.states += check.states;
        total.bars += check.bars();
        total.rectangles += check.rectangles();
        total.labels += check.labels;
        total.samples += check.samples.len();
        Ok(picture)
    }

    /// Where the browser finds the page: itself, or in a frame of the view's width.
    fn address(&self, view: View, height: u32, fragment: &str) -> Result<String> {
        if view.width >= NARROWEST {
            return Ok(format!("{}{fragment}", self.page));
        }
        let frame = self.scratch.join(format!("{}.frame.html", view.name));
        let html = include_str!("browser/frame.html")
            .replace("WIDTH", &view.width.to_string())
            .replace("HEIGHT", &height.to_string())
            .replace("ADDRESS", &format!("{}{fragment}", self.page));
        fs::write(&frame, html)?;
        url(&frame)
    }

    /// Runs the browser once with a new profile; gives what it wrote.
    fn run(&self, view: View, height: u32, options: &[&str], address: &str) -> Result<String> {
        let profile = self.scratch.join("profile");
        if profile.exists() {
            fs::remove_dir_all(&profile)?;
        }
        fs::create_dir_all(&profile)?;
        let log = self.scratch.join(format!("{}.log", view.name));
        let mut command = Command::new(self.chromium);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
                // Every name fails to resolve: the page must not need the network.
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ])
            .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!view.dark)))
            .arg(format!("--window-size={},{height}", view.width))
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(options)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| {
            format!("cannot run {}: is Chromium installed?", self.chromium.display())
        })?;
        let mut out = child.stdout.take().context("the browser has no output")?;
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).map(|_| bytes)
        });
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                bail!(
                    "the browser did not end within {} s; its log: {}",
                    LIMIT.as_secs(),
                    log.display()
                );
            }
            thread::sleep(Duration::from_millis(50));
        };
        let Ok(read) = reader.join() else { bail!("cannot read the browser's output") };
        ensure!(status.success(), "the browser failed ({status}); its log: {}", log.display());
        Ok(String::from_utf8_lossy(&read?).into_owned())
    }
}

/// The address of a file.
fn url(path: &Path) -> Result<String> {
    let path = fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
    let mut address = "file://".to_owned();
    for byte in path.to_str().context("a path is not text")?.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(address)
}
