//! Pieces of bytes over a pipe: a length (u32, little-endian), then so many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest piece: what a service answers is far shorter.
const MAX_PIECE: usize = 4 * 1024 * 1024;

/// The next piece; `None` at the end of the pipe. Not cancel safe.
///
/// # Errors
/// The system's; a pipe that ends within a piece, or a piece that is too long.
pub(super) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_PIECE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece that is too long"));
    }
    let mut piece = vec![0; length];
    from.read_exact(&mut piece).await?;
    Ok(Some(piece))
}

/// Writes a piece.
///
/// # Errors
/// The system's; a piece that is too long.
pub(super) async fn write<W: AsyncWrite + Unpin>(to: &mut W, piece: &[u8]) -> io::Result<()> {
    let length = u32::try_from(piece.len()).ok().filter(|_| piece.len() <= MAX_PIECE);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a piece that is too long"))?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(piece).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_come_as_they_went_and_what_is_none_is_refused() {
        let mut pipe = Vec::new();
        for piece in [&b"one"[..], b"", &[7; 70_000]] {
            write(&mut pipe, piece).await.unwrap();
        }
        let mut from = &pipe[..];
        let mut lengths = Vec::new();
        while let Some(piece) = read(&mut from).await.unwrap() {
            lengths.push(piece.len());
        }
        assert_eq!(lengths, [3, 0, 70_000]);
        assert!(read(&mut &pipe[..5]).await.is_err());
        assert!(read(&mut &[0xff; 8][..]).await.is_err());
        assert!(write(&mut Vec::new(), &vec![0; MAX_PIECE + 1]).await.is_err());
    }
}
