//! The server's side of WebSocket (RFC 6455), without extensions.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::sha1;

/// No message of a session is as large.
const LIMIT: u64 = 1 << 20;

/// A message that came.
#[derive(Debug, PartialEq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close,
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(sha1::digest(text.as_bytes()))
}

/// The next message; `None` at the end of the connection.
///
/// # Errors
/// When the connection breaks or the peer does not keep to the protocol.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let (mut kind, mut content) = (0, Vec::new());
    loop {
        let mut head = [0; 2];
        match stream.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let (last, opcode, masked) = (head[0] & 0x80 != 0, head[0] & 0x0f, head[1] & 0x80 != 0);
        let length = match head[1] & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            length => u64::from(length),
        };
        if !masked || length + content.len() as u64 > LIMIT {
            return Err(wrong("a frame that is not masked, or too large"));
        }
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match opcode {
            8 => return Ok(Some(Message::Close)),
            9 => return Ok(Some(Message::Ping(payload))),
            10 => continue,
            0 => content.extend(payload),
            _ => (kind, content) = (opcode, payload),
        }
        if last {
            return Ok(Some(if kind == 1 {
                let text =
                    String::from_utf8(content).map_err(|_| wrong("a text that is not UTF-8"))?;
                Message::Text(text)
            } else {
                Message::Binary(content)
            }));
        }
    }
}

/// Sends one frame: 2 binary, 8 close, 10 pong.
///
/// # Errors
/// When the connection breaks.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    opcode: u8,
    payload: &[u8],
) -> io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_rfc_comes_out() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[tokio::test]
    async fn masked_and_divided_messages_are_put_together() {
        // "Hello" as RFC 6455 masks it, then a message in two frames with a mask of zeros.
        let mut bytes = vec![
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        bytes.extend([
            0x02, 0x81, 0, 0, 0, 0, b'a', 0x80, 0x81, 0, 0, 0, 0, b'b', 0x88, 0x80, 0, 0, 0, 0,
        ]);
        let mut stream = bytes.as_slice();
        assert_eq!(
            read(&mut stream).await.unwrap(),
            Some(Message::Text("Hello".to_owned()))
        );
        assert_eq!(
            read(&mut stream).await.unwrap(),
            Some(Message::Binary(b"ab".to_vec()))
        );
        assert_eq!(read(&mut stream).await.unwrap(), Some(Message::Close));
        assert_eq!(read(&mut stream).await.unwrap(), None);
        let mut unmasked: &[u8] = &[0x81, 0x01, b'x'];
        assert!(read(&mut unmasked).await.is_err());
    }
}
