//! What a service could send that a careless reader does not survive.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// As [`super::mtproto`] writes them.
const CONTAINER: u32 = 0x73f1_f8dc;
const GZIP: u32 = 0x3072_cfa1;
/// Messages within messages: each costs a reader some of its stack.
const DEPTH: usize = 20_000;
/// Bytes that are packed: more than a client may have.
const UNPACKED: usize = 400 * 1024 * 1024;

/// Something that cannot be read.
#[derive(Clone, Copy, Debug)]
pub enum Poison {
    /// A message in a message in a message.
    Nested,
    /// A little that unpacks to very much.
    Packed,
}

impl Poison {
    /// A message's body.
    pub(super) fn body(self) -> Vec<u8> {
        match self {
            Self::Nested => nested(),
            Self::Packed => packed(),
        }
    }
}

fn nested() -> Vec<u8> {
    // A container of one: what it is, how many, and the message's number, place and length.
    const HEAD: usize = 24;
    let mut body = Vec::with_capacity(DEPTH * HEAD + 12);
    for level in 0..DEPTH {
        let inner = ((DEPTH - level - 1) * HEAD + 12) as i32;
        body.extend(CONTAINER.to_le_bytes());
        body.extend(1_u32.to_le_bytes());
        body.extend((4 * level as i64 + 1).to_le_bytes());
        body.extend(0_i32.to_le_bytes());
        body.extend(inner.to_le_bytes());
    }
    // An acknowledgement of nothing.
    body.extend(0x62d6_b459_u32.to_le_bytes());
    body.extend(0x1cb5_c415_u32.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    body
}

fn packed() -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..UNPACKED / zeros.len() {
        packer.write_all(&zeros).expect("memory takes all");
    }
    let packed = packer.finish().expect("memory takes all");
    let length = (packed.len() as u32) << 8 | 0xfe;
    let mut body = GZIP.to_le_bytes().to_vec();
    body.extend(length.to_le_bytes());
    body.extend(&packed);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}
