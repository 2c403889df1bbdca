//! The page in headless Chromium, whole and broken on purpose.
//!
//! Needs a browser, which `REDOUBT_CHROMIUM` names: `cargo xtask test profile` does. Without it these tests say
//! so and check nothing.

#[path = "page_sample/mod.rs"]
mod page_sample;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use anyhow::Result;
use page_sample as sample;
use redoubt_profile::{
    html::{self, browser::BrowserReport},
    model,
};

/// One browser at a time: each uses several processors.
static ONE: Mutex<()> = Mutex::new(());

fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The browser, or nothing after having said so.
fn chromium() -> Option<PathBuf> {
    let named = env::var_os("REDOUBT_CHROMIUM").map(PathBuf::from);
    if named.is_none() {
        eprintln!("SKIPPED: REDOUBT_CHROMIUM names no browser; `cargo xtask test profile` does");
    }
    named
}

fn look(name: &str, page: &str, chromium: &Path) -> Result<BrowserReport> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&scratch).unwrap();
    let file = scratch.join("page with <odd> name, 100%.html");
    fs::write(&file, page).unwrap();
    html::browser::check_in_browser(&file, chromium, &scratch)
}

fn sound(name: &str, report: &model::Report) {
    let _one = one();
    let Some(chromium) = chromium() else { return };
    let seen = look(name, &html::page(report).unwrap(), &chromium).unwrap();
    eprintln!("{name}: {seen:?}");
    assert_eq!(seen.screenshots.len(), 5);
    let measured: usize = report.systems.iter().map(|system| system.workloads.len()).sum();
    // In each of three light views: four states of all workloads, and two scales of one.
    assert!(seen.bars >= 3 * (4 * measured + 2 * 6 * measured), "{} bars", seen.bars);
}

#[test]
fn the_whole_report_is_sound() {
    sound("whole", &sample::whole());
}

#[test]
fn a_report_without_a_system_is_sound() {
    sound("without-a-system", &sample::without_a_system());
}

#[test]
fn one_system_is_sound() {
    sound("one-system", &sample::one_system());
}

#[test]
fn nothing_traversed_is_sound() {
    sound("nothing-traversed", &sample::nothing_traversed());
}

#[test]
fn no_system_is_sound() {
    sound("no-system", &sample::no_system());
}

#[test]
fn extremes_are_sound() {
    sound("extremes", &sample::extremes());
}

/// The page with something changed in its script or style, and the policy that would stop that taken away.
fn broken(changes: &[(&str, &str)]) -> String {
    let page = html::page(&sample::one_system()).unwrap();
    let (before, rest) = page.split_once("script-src 'sha256-").unwrap();
    let (_, after) = rest.split_once("\">").unwrap();
    let mut page = format!(
        "{before}script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\">{after}"
    );
    for (from, to) in changes {
        assert!(page.contains(from), "the page has no {from:?} to break");
        page = page.replacen(from, to, 1);
    }
    page
}

fn fails(name: &str, page: &str, says: &str) {
    let _one = one();
    let Some(chromium) = chromium() else { return };
    let error = format!("{:#}", look(name, page, &chromium).unwrap_err());
    assert!(error.contains(says), "{name}: {error}");
}

#[test]
fn a_page_that_only_lost_its_policy_is_sound() {
    let _one = one();
    let Some(chromium) = chromium() else { return };
    look("no-policy", &broken(&[]), &chromium).unwrap();
}

#[test]
fn a_script_error_is_found() {
    fails(
        "throws",
        &broken(&[("function begin() {", "function begin() { undefined.x();")]),
        "script failed",
    );
}

#[test]
fn a_script_that_does_not_run_is_found() {
    fails(
        "syntax",
        &broken(&[("function begin() {", "function begin() { (")]),
        "did not check itself",
    );
}

#[test]
fn a_script_that_the_policy_refuses_is_found() {
    let page = html::page(&sample::one_system()).unwrap();
    let page = page.replace("function begin() {", "function begin() { document.title = '';");
    fails("refused", &page, "did not check itself");
}

#[test]
fn a_missing_bar_is_found() {
    fails("no-bar", &broken(&[("of measured) {", "of measured.slice(1)) {")]), "bars of lines");
}

#[test]
fn a_bar_without_size_is_found() {
    fails(
        "thin-bar",
        &broken(&[("</style>", ".bar.total { height: 0; }</style>")]),
        "without size",
    );
}

#[test]
fn a_bar_of_the_wrong_length_is_found() {
    fails(
        "long-bar",
        &broken(&[("width: pct(width)", "width: pct(1 - scale.at(value) / 2)")]),
        "drawn shorter",
    );
}

#[test]
fn an_empty_map_is_found() {
    fails(
        "no-map",
        &broken(&[(
            "function squarify(items, x, y, width, height) {",
            "function squarify() { return [];",
        )]),
        "map of redoubt",
    );
}

#[test]
fn overlapping_rectangles_are_found() {
    fails("overlap", &broken(&[("y: y + along, width: thick", "y: y, width: thick")]), "overlap");
}

#[test]
fn a_label_that_leaves_the_page_is_found() {
    let wide = ".lines .value { white-space: nowrap; min-width: 3000px; }</style>";
    fails("wide-label", &broken(&[("</style>", wide)]), "label");
}

#[test]
fn a_label_that_is_cut_is_found() {
    let cut = ".rows .label { white-space: nowrap; overflow: hidden; width: 1em; }</style>";
    fails("cut-label", &broken(&[("</style>", cut)]), "label cut");
}

#[test]
fn labels_over_labels_are_found() {
    fails(
        "axis",
        &broken(&[("</style>", ".axis text { font-size: 4rem !important; }</style>")]),
        "overlap",
    );
}

#[test]
fn a_page_wider_than_the_window_is_found() {
    fails(
        "wide",
        &broken(&[("</style>", "footer { width: 200vw; }</style>")]),
        "wide in a window of",
    );
}

#[test]
fn a_name_that_becomes_an_image_is_found() {
    let image = "<img alt=\"\" src=\"data:image/gif;base64,R0lGODlhAQABAAAAACw=\"><main>";
    fails("image", &broken(&[("<main>", image)]), "became 1 images");
}

#[test]
fn charts_that_are_not_painted_are_found() {
    fails("unpainted", &broken(&[("</style>", "main { opacity: 0; }</style>")]), "blank");
    fails(
        "pale",
        &broken(&[("</style>", "#glance .bar { opacity: .1; }</style>")]),
        "the picture has",
    );
    fails(
        "clear",
        &broken(&[("</style>", ".total, .own .total { fill: transparent; }</style>")]),
        "no plain colour",
    );
}

#[test]
fn a_page_that_stays_light_in_the_dark_is_found() {
    fails(
        "light",
        &broken(&[("@media (prefers-color-scheme: dark)", "@media print")]),
        "is not dark",
    );
}

#[test]
fn a_browser_that_cannot_be_run_is_an_error() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-browser");
    let page = scratch.join("page.html");
    fs::create_dir_all(&scratch).unwrap();
    fs::write(&page, html::page(&sample::one_system()).unwrap()).unwrap();
    let check = |page: &Path, chromium: &str| {
        let error =
            html::browser::check_in_browser(page, Path::new(chromium), &scratch).unwrap_err();
        format!("{error:#}")
    };
    assert!(check(&page, "/nonexistent/chromium").contains("is Chromium installed?"));
    assert!(check(&page, "false").contains("the browser failed"));
    assert!(check(&page, "true").contains("did not check itself"));
    assert!(check(&scratch.join("none.html"), "true").contains("cannot read"));
}
