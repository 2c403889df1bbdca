//! What a line is worth: how many defects are to be expected in a thousand of them.
//!
//! Decides the range by which traversed lines become a horizontal attack profile. Nobody knows the
//! density of defects of a given piece of code, so it is a range with a source for each end, and the
//! same range for every system. That counts against Redoubt, if anything: classes of defects that the
//! sources count among those found in C are excluded by its language or confined to marked blocks.

use crate::model::Density;

#[cfg(test)]
mod tests;

/// The density that reports use, with its sources.
pub fn density() -> Density {
    let sources = [
        "Low: S. McConnell, Code Complete, 2nd edition, 2004, section 22.4, gives 0.5 defects for \
         each 1,000 lines of released applications of a vendor that reviews code and tests it \
         independently.",
        "Low: the Coverity Scan reports give 0.69 defects for each 1,000 lines of open-source code \
         in 2012 and 0.59 in 2013; a static analyser finds a part of the defects that there are.",
        "High: the same section of Code Complete gives 1 to 25 errors for each 1,000 lines of \
         delivered software as the average of the industry.",
        "High: the proof of seL4's functional correctness found 144 defects in 8,700 lines of C \
         that had been tested before, 17 for each 1,000 lines, although it is a small kernel made \
         with uncommon care (Klein et al., SOSP 2009).",
        "The same range is applied to every system; that counts against Redoubt, if anything, since \
         nearly all of its code is memory-safe and the sources are about C.",
    ];
    Density { low: 0.5, high: 25.0, sources: sources.map(str::to_owned).to_vec() }
}

/// The horizontal attack profile of traversed lines: the defects to be expected in them, at least and
/// at most.
pub fn expected(lines: u64, density: &Density) -> (f64, f64) {
    let thousands = lines as f64 / 1000.0;
    (thousands * density.low, thousands * density.high)
}

/// A horizontal attack profile as reports write it: `0.8 to 40`.
pub fn range(lines: u64, density: &Density) -> String {
    let (low, high) = expected(lines, density);
    format!("{} to {}", short(low), short(high))
}

/// A number with one digit behind the point where that says something.
fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { crate::text::thousands(value.round() as u64) }
}
