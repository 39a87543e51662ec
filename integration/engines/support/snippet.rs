//! What docs/engines.md tells people to write, so that the tests run with it.

use super::peer::program;

const PAGE: &str = include_str!("../../../docs/engines.md");

/// Where the page has corten.
const INSTALLED: &str = "/usr/local/bin/corten";

/// The fenced block below the line that holds `title`, with the program under test in corten's place.
pub fn below(title: &str) -> String {
    let (_, rest) = PAGE.split_once(title).unwrap_or_else(|| panic!("docs/engines.md has no {title:?}"));
    let (_, block) = rest.split_once("\n```").expect("a block");
    let (_, block) = block.split_once('\n').expect("its language");
    let (block, _) = block.split_once("\n```").expect("its end");
    let program = std::path::absolute(program()).unwrap();
    assert!(block.contains(INSTALLED), "{title}: no {INSTALLED}");
    block.replace(INSTALLED, program.to_str().unwrap())
}
