//! Registries that have to be waited for, told to whoever watches.

use hoist_oci::Registry;

use crate::event::{Events, Step};

/// The client, whose waits are lines of a step.
pub(crate) fn told(registry: Registry, events: &Events, step: Step) -> Registry {
    let events = events.clone();
    registry.telling(move |wait| events.note(step, wait.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use hoist_oci::{ImageRef, RegistryOptions};

    use super::*;

    #[tokio::test]
    async fn who_watches_reads_once_that_a_registry_is_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let _ = connection.read(&mut [0; 4096]);
                let answer = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        let events = Events::new(vec![Box::new(move |event| {
            let line = serde_json::to_string(event).unwrap();
            ears.lock().unwrap().push(line);
        })]);
        let registry = told(
            Registry::new(RegistryOptions::default()),
            &events,
            Step::Push,
        );
        let image: ImageRef = format!("{address}/shop:v1").parse().unwrap();
        assert!(registry.head(&image).await.is_err());
        let says = format!(
            r#"{{"event":"note","step":"push","tone":"info","text":"{address} answers 429 Too Many Requests; trying again"}}"#
        );
        assert_eq!(*heard.lock().unwrap(), [says]);
    }
}
