//! One file from one address, over one connection at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::TlsConfig;

use super::FetchError;
use super::roots::root_certificates;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const BLOCK: usize = 64 * 1024;

/// How far a download is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on disk.
    pub done: u64,
    /// Bytes of the whole file, if the server says.
    pub total: Option<u64>,
}

/// What one connection came to.
pub(super) struct Attempt {
    /// Bytes it brought.
    pub received: u64,
    /// Whether the file is whole; otherwise what broke.
    pub end: Result<(), String>,
}

/// A file that is filled from an address.
pub(super) struct Transfer<'a> {
    agent: Agent,
    url: String,
    /// Open for appending.
    file: File,
    path: &'a Path,
}

impl<'a> Transfer<'a> {
    pub fn new(url: String, file: File, path: &'a Path) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(root_certificates()).build())
            .user_agent(concat!("pdarts/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().new_agent(), url, file, path }
    }

    /// Bytes on disk.
    pub fn length(&self) -> Result<u64, FetchError> {
        Ok(self.file.metadata().map_err(FetchError::file(self.path))?.len())
    }

    /// Makes the file durable.
    pub fn finish(self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(FetchError::file(self.path))
    }

    /// Asks for what is missing and appends what comes.
    ///
    /// # Errors
    /// What another attempt would not mend: the server's refusal, a full disk.
    pub fn attempt(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Attempt, FetchError> {
        let mut start = self.length()?;
        let mut request = self.agent.get(&self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return Ok(Attempt { received: 0, end: Err(describe(&error)) }),
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_of(&response).starts_with(&format!("bytes {start}-")) => {}
            StatusCode::RANGE_NOT_SATISFIABLE if range_of(&response) == format!("bytes */{start}") => {
                return Ok(Attempt { received: 0, end: Ok(()) });
            }
            // The server knows no ranges.
            StatusCode::OK => {
                self.restart()?;
                start = 0;
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                self.restart()?;
                return self.attempt(progress);
            }
            status => return Err(FetchError::Status { url: self.url.clone(), status: status.to_string() }),
        }
        self.append(response, start, progress)
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(FetchError::file(self.path))
    }

    fn append(
        &mut self,
        response: Response<ureq::Body>,
        start: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Attempt, FetchError> {
        let total = response.body().content_length().map(|length| start + length);
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; BLOCK];
        let mut received = 0;
        let end = loop {
            progress(Progress { done: start + received, total });
            match body.read(&mut block) {
                Ok(0) if total.is_some_and(|total| start + received < total) => {
                    break Err("the server ended it early".to_owned());
                }
                Ok(0) => break Ok(()),
                Ok(length) => {
                    self.file.write_all(&block[..length]).map_err(FetchError::file(self.path))?;
                    received += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error.to_string()),
            }
        };
        Ok(Attempt { received, end })
    }
}

/// The part of the file that a response brings or refuses.
fn range_of(response: &Response<ureq::Body>) -> &str {
    response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn describe(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    match text.contains("UnknownIssuer") {
        true => format!(
            "{text}: its certificate is of an authority that this machine does not know; behind a proxy that has its \
             own, set SSL_CERT_FILE to the file with it"
        ),
        false => text,
    }
}
