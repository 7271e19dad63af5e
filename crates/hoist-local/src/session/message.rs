//! Messages between the agent and the plugin of Session Manager.
//!
//! The form is that of `AgentMessage` in the sources of amazon-ssm-agent and session-manager-plugin: a header of 116 bytes, the
//! length of the payload, the payload; all numbers big-endian.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clock;

/// Bytes of the header, without the length of the payload.
const HEADER: usize = 116;

/// What a payload is.
pub mod payload {
    /// What is typed or printed.
    pub const OUTPUT: u32 = 1;
    /// The size of the terminal: `{"cols": 80, "rows": 24}`.
    pub const SIZE: u32 = 3;
    /// What the agent asks of the client at the beginning.
    pub const HANDSHAKE_REQUEST: u32 = 5;
    /// What the client says to it.
    pub const HANDSHAKE_RESPONSE: u32 = 6;
    /// The beginning is over.
    pub const HANDSHAKE_COMPLETE: u32 = 7;
    /// The exit code of the program, in digits.
    pub const EXIT_CODE: u32 = 12;
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentMessage {
    /// Such as `input_stream_data`.
    pub kind: String,
    /// Counts the messages of one side that are acknowledged, from 0.
    pub sequence: i64,
    /// Identifies it; what an acknowledgement names.
    pub id: [u8; 16],
    /// See [`payload`].
    pub payload_type: u32,
    /// The content.
    pub payload: Vec<u8>,
}

impl AgentMessage {
    /// A message with a new id.
    pub fn new(kind: &str, sequence: i64, payload_type: u32, payload: Vec<u8>) -> AgentMessage {
        AgentMessage {
            kind: kind.to_owned(),
            sequence,
            id: fastrand::u128(..).to_be_bytes(),
            payload_type,
            payload,
        }
    }

    /// The acknowledgement of a message that came.
    pub fn acknowledge(&self) -> AgentMessage {
        let content = json!({
            "AcknowledgedMessageType": self.kind,
            "AcknowledgedMessageId": uuid(&self.id),
            "AcknowledgedMessageSequenceNumber": self.sequence,
            "IsSequentialMessage": true,
        });
        AgentMessage::new("acknowledge", 0, 0, content.to_string().into_bytes())
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 4 + self.payload.len());
        out.extend((HEADER as u32).to_be_bytes());
        out.extend(format!("{:<32.32}", self.kind).into_bytes());
        out.extend(1u32.to_be_bytes());
        out.extend(u64::try_from(clock::now()).unwrap_or(0).to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        let flags: u64 = match (self.kind.as_str(), self.sequence) {
            ("acknowledge", _) => 3,
            (_, 0) => 1,
            _ => 0,
        };
        out.extend(flags.to_be_bytes());
        // The two halves of an id change places on the wire.
        out.extend(&self.id[8..]);
        out.extend(&self.id[..8]);
        out.extend(Sha256::digest(&self.payload));
        out.extend(self.payload_type.to_be_bytes());
        out.extend(u32::try_from(self.payload.len()).unwrap_or(0).to_be_bytes());
        out.extend(&self.payload);
        out
    }

    /// Reads one; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<AgentMessage> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let header = usize::try_from(number(0)?).ok()?;
        let length = usize::try_from(number(header)?).ok()?;
        let payload = bytes
            .get(header + 4..(header + 4).checked_add(length)?)?
            .to_vec();
        let mut id = [0; 16];
        id[8..].copy_from_slice(bytes.get(64..72)?);
        id[..8].copy_from_slice(bytes.get(72..80)?);
        Some(AgentMessage {
            kind: std::str::from_utf8(bytes.get(4..36)?)
                .ok()?
                .trim_matches(['\0', ' '])
                .to_owned(),
            sequence: i64::from_be_bytes(bytes.get(48..56)?.try_into().ok()?),
            id,
            payload_type: number(112)?,
            payload,
        })
    }

    /// The payload as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

/// An id as text.
pub fn uuid(id: &[u8; 16]) -> String {
    let hex = hex::encode(id);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_and_a_part_of_one_does_not() {
        let message = AgentMessage::new("input_stream_data", 7, payload::OUTPUT, b"ls\n".to_vec());
        let bytes = message.encode();
        assert_eq!(bytes.len(), 123);
        assert_eq!(&bytes[4..36], b"input_stream_data               ");
        assert_eq!(AgentMessage::decode(&bytes), Some(message.clone()));
        for length in 0..bytes.len() {
            assert_eq!(AgentMessage::decode(&bytes[..length]), None);
        }
        let acknowledgement = message.acknowledge().json();
        assert_eq!(acknowledgement["AcknowledgedMessageId"], uuid(&message.id));
    }
}
