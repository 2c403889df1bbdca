//! Screenshots: what was laid out must be seen, too.
//!
//! Decides whether a picture shows the page: the background is as bright as asked for, every chart has
//! something in it, and each sampled bar and rectangle has its colour.

use std::{collections::HashMap, fs::File, io::BufReader, path::Path};

use anyhow::{Context, Result, ensure};

use super::verify::Selfcheck;
use crate::model::Report;

/// Colours that a chart has at least: its background, and two of what is drawn in it.
const LEAST_COLOURS: usize = 3;
/// Of so many pixels in each direction one is counted: what is drawn is higher and wider than that.
const STEP: usize = 3;
/// How far a channel may be from the colour that was asked for.
const NEAR: u8 = 6;

type Colour = [u8; 3];

/// A picture in memory.
pub(super) struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path)
            .with_context(|| format!("the browser made no picture {}", path.display()))?;
        let mut reader = png::Decoder::new(BufReader::new(file)).read_info()?;
        let size = reader.output_buffer_size().context("the picture is too large")?;
        let mut bytes = vec![0; size];
        let info = reader.next_frame(&mut bytes)?;
        ensure!(info.bit_depth == png::BitDepth::Eight, "a picture of {:?}", info.bit_depth);
        let samples = info.color_type.samples();
        ensure!(samples >= 3, "a picture of {:?}", info.color_type);
        let bytes = &bytes[..info.buffer_size()];
        let pixels = bytes.chunks_exact(samples).map(|one| [one[0], one[1], one[2]]).collect();
        Ok(Self { width: info.width as usize, height: info.height as usize, pixels })
    }

    fn at(&self, x: usize, y: usize) -> Option<Colour> {
        if x >= self.width {
            return None;
        }
        self.pixels.get(y * self.width + x).copied()
    }

    /// How often each colour was found in a part of the picture: left, top, width, height.
    fn colours(&self, [left, top, width, height]: [usize; 4]) -> HashMap<Colour, usize> {
        let mut found = HashMap::new();
        for y in (top..(top + height).min(self.height)).step_by(STEP) {
            for x in (left..(left + width).min(self.width)).step_by(STEP) {
                if let Some(colour) = self.at(x, y) {
                    *found.entry(colour).or_default() += 1;
                }
            }
        }
        found
    }
}

/// Fails unless the picture shows what the page says it has drawn.
pub(super) fn verify(
    picture: &Picture,
    check: &Selfcheck,
    dark: bool,
    report: &Report,
) -> Result<()> {
    let all = picture.colours([0, 0, picture.width, picture.height]);
    let back = all.iter().max_by_key(|(_, count)| **count).map(|(colour, _)| *colour);
    let back = back.context("the picture is empty")?;
    let bright = back.iter().map(|channel| u32::from(*channel)).sum::<u32>() / 3;
    ensure!(
        if dark { bright < 80 } else { bright > 180 },
        "the picture's background {back:?} is not {}",
        if dark { "dark" } else { "light" }
    );
    ensure!(all.len() > 8, "the picture is blank: it has {} colours", all.len());

    if report.systems.iter().any(|system| !system.workloads.is_empty()) {
        for (name, place) in &check.boxes {
            let part = place.map(|number| usize::try_from(number).unwrap_or(0));
            if part[1] >= picture.height {
                continue;
            }
            let colours = picture.colours(part).len();
            ensure!(colours >= LEAST_COLOURS, "{name} is blank: {colours} colours in {part:?}");
        }
    }
    for sample in &check.samples {
        let (x, y) = (sample.x as usize, sample.y as usize);
        if y >= picture.height {
            continue;
        }
        let seen = picture.at(x, y).context("a bar is beside the picture")?;
        let near = seen.iter().zip(sample.colour).all(|(a, b)| a.abs_diff(b) <= NEAR);
        ensure!(
            near,
            "at {x}, {y} the picture has {seen:?}, and what is drawn there is {:?}",
            sample.colour
        );
    }
    Ok(())
}
