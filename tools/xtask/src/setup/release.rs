//! Which Debian this is.

use std::fs;

use anyhow::{Context, Result, bail};

/// A Debian release that set-up knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Release {
    /// Finds out what this machine runs.
    pub fn find() -> Result<Release> {
        let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        Release::parse(&text)
    }

    /// Reads the contents of an `os-release` file.
    pub fn parse(text: &str) -> Result<Release> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
        };
        match (field("ID").as_str(), field("VERSION_ID").as_str()) {
            ("debian", "12") => Ok(Release::Bookworm),
            ("debian", "13") => Ok(Release::Trixie),
            _ => bail!(
                "set-up knows Debian 12 and 13, this is {}: install by hand what is missing",
                field("PRETTY_NAME")
            ),
        }
    }

    /// The name of its suite on a mirror.
    pub fn codename(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
        }
    }
}

#[cfg(test)]
mod tests {
    //! `os-release` files as they are found.

    use super::Release;

    #[test]
    fn knows_two_debians_and_names_others() {
        let twelve =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(Release::parse(twelve).unwrap(), Release::Bookworm);
        let thirteen = "ID=debian\nVERSION_ID=\"13\"\n";
        assert_eq!(Release::parse(thirteen).unwrap(), Release::Trixie);
        let other = "ID=fedora\nVERSION_ID=12\nPRETTY_NAME=\"Fedora 12\"\n";
        let error = Release::parse(other).unwrap_err().to_string();
        assert!(error.contains("Fedora 12"), "{error}");
    }
}
