//! Answers that are ready: what was read of the scheduler's world is good until the world changes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use http::request::Parts;

use super::services::Service;
use crate::sigv4;

/// How many bytes of questions and answers are kept, and how long one of each may be.
const MOST: usize = 8 << 20;
const LONGEST: usize = 64 << 10;

/// Operations whose answers depend on nothing but the request and the scheduler's world.
const READS: [&str; 10] = [
    "DescribeClusters",
    "DescribeServiceDeployments",
    "DescribeServiceRevisions",
    "DescribeServices",
    "DescribeTaskDefinition",
    "DescribeTasks",
    "ListClusters",
    "ListServiceDeployments",
    "ListServices",
    "ListTasks",
];

/// What was asked, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    action: &'static str,
    /// Of the credential scope; not verified.
    region: String,
    body: Bytes,
}

impl Question {
    /// The question of a request, if its answer may be kept.
    pub fn of(parts: &Parts, body: &Bytes) -> Option<Question> {
        let (prefix, name) = parts
            .headers
            .get("x-amz-target")?
            .to_str()
            .ok()?
            .split_once('.')?;
        let action = *READS.iter().find(|it| **it == name)?;
        if Service::by_target(prefix) != Some(Service::Ecs) || body.len() > LONGEST {
            return None;
        }
        Some(Question {
            action,
            region: sigv4::region(parts)?.to_owned(),
            body: body.clone(),
        })
    }

    pub fn action(&self) -> &'static str {
        self.action
    }

    pub fn region(&self) -> &str {
        &self.region
    }
}

/// The answers of one generation of the world.
#[derive(Default)]
pub struct Ready {
    kept: RwLock<Kept>,
    hasher: RandomState,
}

#[derive(Default)]
struct Kept {
    generation: u64,
    bytes: usize,
    answers: HashMap<u64, (Question, Bytes)>,
}

impl Ready {
    /// The answer to a question in that generation.
    pub fn get(&self, generation: u64, question: &Question) -> Option<Bytes> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if kept.generation != generation {
            return None;
        }
        let (asked, answer) = kept.answers.get(&self.hasher.hash_one(question))?;
        (asked == question).then(|| answer.clone())
    }

    /// Keeps an answer that was read in that generation, or just after it.
    pub fn put(&self, generation: u64, question: Question, answer: Bytes) {
        let length = question.body.len() + answer.len();
        if answer.len() > LONGEST {
            return;
        }
        let hash = self.hasher.hash_one(&question);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.generation > generation {
            return;
        }
        if kept.generation < generation || kept.bytes + length > MOST {
            *kept = Kept::default();
        }
        kept.generation = generation;
        kept.bytes += length;
        // The body may be a part of a larger buffer, which need not be kept.
        let question = Question {
            body: Bytes::copy_from_slice(&question.body),
            ..question
        };
        if let Some((asked, old)) = kept.answers.insert(hash, (question, answer)) {
            kept.bytes -= asked.body.len() + old.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(target: &str, region: &str, body: &'static str) -> Option<Question> {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/{region}/ecs/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = http::Request::builder()
            .header("x-amz-target", target)
            .header("authorization", scope);
        let parts = request.body(()).unwrap().into_parts().0;
        Question::of(&parts, &Bytes::from_static(body.as_bytes()))
    }

    const SERVICES: &str = "AmazonEC2ContainerServiceV20141113.DescribeServices";

    #[test]
    fn an_answer_is_good_until_the_world_changes() {
        let ready = Ready::default();
        let ask = |body| question(SERVICES, "us-east-1", body).unwrap();
        ready.put(1, ask("a"), Bytes::from_static(b"A"));
        assert_eq!(ready.get(1, &ask("a")).as_deref(), Some(&b"A"[..]));
        assert_eq!(ready.get(1, &ask("b")), None);
        let elsewhere = question(SERVICES, "us-east-2", "a").unwrap();
        assert_eq!(ready.get(1, &elsewhere), None);
        assert_eq!(ready.get(2, &ask("a")), None);
        ready.put(2, ask("b"), Bytes::from_static(b"B"));
        ready.put(1, ask("a"), Bytes::from_static(b"late"));
        assert_eq!(ready.get(2, &ask("a")), None);
        assert_eq!(ready.get(2, &ask("b")).as_deref(), Some(&b"B"[..]));
    }

    #[test]
    fn answers_take_no_more_room_than_there_is() {
        let ready = Ready::default();
        for number in 0..1_000 {
            let body: &'static str = Box::leak(number.to_string().into_boxed_str());
            let asked = question(SERVICES, "us-east-1", body).unwrap();
            ready.put(1, asked, Bytes::from(vec![0; 32 << 10]));
        }
        let kept = ready.kept.read().unwrap();
        assert!(kept.bytes <= MOST && !kept.answers.is_empty());
        let all: usize = kept
            .answers
            .values()
            .map(|(asked, answer)| asked.body.len() + answer.len())
            .sum();
        assert_eq!(all, kept.bytes);
    }

    #[test]
    fn what_changes_something_or_is_another_services_is_never_kept() {
        for target in [
            "AmazonEC2ContainerServiceV20141113.UpdateService",
            "Logs_20140328.ListTasks",
            "ListTasks",
        ] {
            assert_eq!(question(target, "us-east-1", "{}"), None, "{target}");
        }
    }
}
