//! The resolver that tasks see: answers names that the embedded AWS gives, and asks this machine's own resolvers for all others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::{Names, ServiceRecord};

/// How long one of the machine's resolvers may take before the next is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds for which an answer of ours holds: tasks come and go.
const LIFETIME: u32 = 5;
/// The largest message that UDP carries.
const LARGEST: usize = 65_535;

/// What the resolver knows. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Resolver {
    names: Arc<OnceLock<Arc<dyn Names>>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Gives it names of ours; those given first stay.
    pub(crate) fn set(&self, names: Arc<dyn Names>) {
        let _ = self.names.set(names);
    }

    /// Answers what comes in there, by TCP and by UDP.
    pub(crate) fn serve(&self, listener: TcpListener, socket: UdpSocket) {
        tokio::spawn(self.clone().serve_udp(Arc::new(socket)));
        tokio::spawn(self.clone().serve_tcp(listener));
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LARGEST];
        loop {
            // An error is about an earlier answer that nobody took.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (resolver, socket, query) =
                (self.clone(), socket.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                if let Some(answer) = resolver.answer(&query, false).await {
                    let _ = socket.send_to(&answer, from).await;
                }
            });
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let resolver = self.clone();
            tokio::spawn(async move {
                while let Ok(query) = read_message(&mut stream).await {
                    let Some(answer) = resolver.answer(&query, true).await else {
                        return;
                    };
                    if write_message(&mut stream, &answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    async fn answer(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let question = Question::read(query)?;
        if let Some(names) = self.names.get()
            && let Some(addresses) = names.addresses(&question.name)
        {
            let answer = match question.kind {
                KIND_SRV => question.services(query, &names.services(&question.name)),
                _ => question.answer(query, &addresses),
            };
            return Some(question.fitted(query, answer, tcp));
        }
        for resolver in resolvers() {
            let asked = async {
                if tcp {
                    let mut stream = TcpStream::connect(resolver).await?;
                    write_message(&mut stream, query).await?;
                    return read_message(&mut stream).await;
                }
                let any: SocketAddr = match resolver {
                    SocketAddr::V4(_) => ([0; 4], 0).into(),
                    SocketAddr::V6(_) => ([0; 16], 0).into(),
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(resolver).await?;
                socket.send(query).await?;
                let mut answer = vec![0; LARGEST];
                let length = socket.recv(&mut answer).await?;
                answer.truncate(length);
                Ok::<_, io::Error>(answer)
            };
            if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asked).await {
                return Some(answer);
            }
        }
        Some(question.failure(query))
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

/// This machine's own resolvers, as they are now.
fn resolvers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

/// The one question of a query (RFC 1035, section 4.1.2).
struct Question {
    /// In lower case, without the dot at its end.
    name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

const HEADER: usize = 12;
const KIND_A: u16 = 1;
const KIND_SRV: u16 = 33;
/// What a message without extensions may be long at most over UDP (RFC 1035, section 4.2.1), and one with them (RFC 6891, section 6.2.5).
const SHORT: usize = 512;
const LONG: usize = 1232;

impl Question {
    /// Reads a query with one question; anything else is no query.
    fn read(message: &[u8]) -> Option<Question> {
        let is_query = message.get(2)? & 0xf8 == 0;
        if !is_query || message.get(4..6)? != [0, 1] {
            return None;
        }
        let (mut labels, mut at) = (Vec::new(), HEADER);
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            match length {
                0 => break,
                1..=63 => {
                    let label = message.get(at..at + length)?;
                    labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                    at += length;
                }
                _ => return None,
            }
        }
        let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
        message.get(at..at + 4)?;
        Some(Question {
            name: labels.join("."),
            kind,
            end: at + 4,
        })
    }

    fn begin(&self, query: &[u8], answers: u16, code: u8) -> Vec<u8> {
        let mut message = query[..self.end].to_vec();
        // An answer, with the query's wish for recursion, which is available.
        message[2] |= 0x80;
        message[3] = 0x80 | code;
        message[6..8].copy_from_slice(&answers.to_be_bytes());
        message[8..HEADER].fill(0);
        message
    }

    /// With these addresses; a name without any exists, but not for this kind of question.
    fn answer(&self, query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
        // As many as fit into a plain answer.
        let addresses = if self.kind == KIND_A {
            &addresses[..addresses.len().min(25)]
        } else {
            &[]
        };
        let mut message = self.begin(query, addresses.len() as u16, 0);
        for address in addresses {
            // The name is the question's; an address, of the Internet.
            message.extend([0xc0, HEADER as u8, 0, 1, 0, 1]);
            message.extend(LIFETIME.to_be_bytes());
            message.extend([0, 4]);
            message.extend(address.octets());
        }
        message
    }

    /// With these places (RFC 2782), each of the same priority and weight.
    fn services(&self, query: &[u8], services: &[ServiceRecord]) -> Vec<u8> {
        let mut message = self.begin(query, services.len() as u16, 0);
        for service in services {
            message.extend([0xc0, HEADER as u8]);
            message.extend(KIND_SRV.to_be_bytes());
            message.extend([0, 1]);
            message.extend(LIFETIME.to_be_bytes());
            let mut data = vec![0, 1, 0, 1];
            data.extend(service.port.to_be_bytes());
            for label in service.target.split('.').filter(|it| !it.is_empty()) {
                // A label has 63 characters at most; whoever made the name had to keep to that.
                let label = &label.as_bytes()[..label.len().min(63)];
                data.push(label.len() as u8);
                data.extend(label);
            }
            data.push(0);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        message
    }

    /// An answer as it may be sent: one that is too long for a datagram says so instead, and the asker comes back by TCP.
    fn fitted(&self, query: &[u8], answer: Vec<u8>, tcp: bool) -> Vec<u8> {
        let extended = query.get(10..HEADER).is_some_and(|it| it != [0, 0]);
        let most = if extended { LONG } else { SHORT };
        if tcp || answer.len() <= most {
            return answer;
        }
        let mut cut = self.begin(query, 0, 0);
        cut[2] |= 0x02;
        cut
    }

    /// Nobody can be asked.
    fn failure(&self, query: &[u8]) -> Vec<u8> {
        self.begin(query, 0, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn an_answer_repeats_the_question_and_gives_addresses() {
        let query = query("Api.Shop.local", KIND_A);
        let question = Question::read(&query).unwrap();
        assert_eq!(
            (question.name.as_str(), question.kind),
            ("api.shop.local", 1)
        );
        let answer = question.answer(&query, &[Ipv4Addr::new(172, 31, 0, 9)]);
        assert_eq!(answer[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[HEADER..query.len()], query[HEADER..]);
        assert_eq!(
            answer[query.len()..],
            [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 172, 31, 0, 9]
        );
    }

    #[test]
    fn other_kinds_of_questions_have_no_answer_but_the_name_exists() {
        let query = query("api.shop.local", 28);
        let question = Question::read(&query).unwrap();
        let answer = question.answer(&query, &[Ipv4Addr::LOCALHOST]);
        assert_eq!(answer[2..8], [0x81, 0x80, 0, 1, 0, 0]);
        assert_eq!(question.failure(&query)[3], 0x82);
    }

    #[test]
    fn services_are_told_with_their_ports_and_too_many_by_tcp_alone() {
        let query = query("_http._tcp.shop.local", KIND_SRV);
        let question = Question::read(&query).unwrap();
        let service = ServiceRecord {
            target: "t1.shop.local".to_owned(),
            port: 8080,
        };
        let answer = question.services(&query, std::slice::from_ref(&service));
        let expected =
            b"\xc0\x0c\0\x21\0\x01\0\0\0\x05\0\x15\0\x01\0\x01\x1f\x90\x02t1\x04shop\x05local\0";
        assert_eq!(answer[query.len()..], expected[..]);
        let many = question.services(&query, &vec![service; 20]);
        assert!(many.len() > SHORT);
        assert_eq!(question.fitted(&query, many.clone(), true), many);
        let cut = question.fitted(&query, many, false);
        assert_eq!(
            (cut.len(), cut[2] & 0x02, &cut[6..8]),
            (query.len(), 2, &[0, 0][..])
        );
    }

    #[test]
    fn what_is_no_query_is_left_alone() {
        let mut answer = query("a", KIND_A);
        answer[2] |= 0x80;
        assert!(Question::read(&answer).is_none());
        let whole = query("a.b", KIND_A);
        for length in 0..whole.len() {
            assert!(Question::read(&whole[..length]).is_none(), "{length}");
        }
        let mut looping = query("a", KIND_A);
        looping[HEADER] = 0xc0;
        assert!(Question::read(&looping).is_none());
    }
}
