//! A small tree, read and changed.

use super::DeviceTree;

/// Where the header's 10 words end.
const HEADER: u32 = 40;

/// `/ { a; pcie@10 { m = <1 2 3 4>; child { m = <9>; }; }; z { m = <7>; }; }`.
fn tree() -> DeviceTree {
    let strings = b"m\0a\0";
    let mut words: Vec<u32> = vec![1, 0];
    words.extend([3, 0, 2]);
    words.extend([1, u32::from_be_bytes(*b"pcie"), u32::from_be_bytes(*b"@10\0")]);
    words.extend([3, 16, 0, 1, 2, 3, 4]);
    words.extend([1, u32::from_be_bytes(*b"chil"), u32::from_be_bytes(*b"d\0\0\0"), 3, 4, 0, 9, 2]);
    words.extend([2, 1, u32::from_be_bytes(*b"z\0\0\0"), 3, 4, 0, 7, 2, 2, 9]);
    let size = words.len() as u32 * 4;
    let strings_at = HEADER + size;
    let header = [0xd00d_feed, strings_at + 4, HEADER, strings_at, 0, 17, 16, 0, 4, size];
    let mut bytes = Vec::new();
    for word in header.into_iter().chain(words) {
        bytes.extend_from_slice(&u32::to_be_bytes(word));
    }
    bytes.extend_from_slice(strings);
    DeviceTree::new(bytes).unwrap()
}

#[test]
fn finds_a_property_of_the_node_that_is_named() {
    let tree = tree();
    assert_eq!(tree.cells("pcie@", "m").unwrap(), [1, 2, 3, 4]);
    assert_eq!(tree.cells("z", "m").unwrap(), [7]);
    assert!(tree.cells("child", "m").is_err());
    assert!(tree.cells("z", "a").is_err());
    assert!(tree.cells("y", "m").is_err());
}

#[test]
fn changes_stay_in_their_place() {
    let mut tree = tree();
    tree.set("pcie@", "m", &[5, 6, 7, 8]).unwrap();
    assert_eq!(tree.cells("pcie@", "m").unwrap(), [5, 6, 7, 8]);
    tree.set("pcie@", "m", &[5, 6, 7]).unwrap();
    assert_eq!(tree.cells("pcie@", "m").unwrap(), [5, 6, 7]);
    assert_eq!(tree.cells("z", "m").unwrap(), [7]);
    assert!(tree.set("z", "m", &[1, 2]).is_err());
}

#[test]
fn room_behind_the_last_block_goes() {
    let packed = tree();
    let mut bytes = packed.bytes().to_vec();
    bytes[4..8].copy_from_slice(&4096_u32.to_be_bytes());
    bytes.resize(4096, 0);
    let mut roomy = DeviceTree::new(bytes).unwrap();
    roomy.shrink().unwrap();
    assert_eq!(roomy, packed);
    roomy.0.truncate(60);
    assert!(roomy.shrink().is_err());
}

#[test]
fn what_is_no_tree_is_refused() {
    assert!(DeviceTree::new(vec![0; 64]).is_err());
    assert!(DeviceTree::new(Vec::new()).is_err());
    let mut bytes = tree().bytes().to_vec();
    bytes.truncate(64);
    assert!(DeviceTree::new(bytes).unwrap().cells("z", "m").is_err());
}
