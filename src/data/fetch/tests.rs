//! Downloads from a server of our own, which behaves as badly as the test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

use super::*;

/// What the archive holds; its checksum was computed by `md5sum`.
const CONTENT: &[u8] = b"forty bytes that stand for an archive...";
const ARCHIVE: Archive = Archive { name: "small.tar.gz", md5: "ad8bfa3012bcee3f9b4e710019be38f9" };

/// How the server answers.
#[derive(Clone)]
struct Behaviour {
    content: Vec<u8>,
    knows_ranges: bool,
    /// Bytes after which each connection in turn breaks; later ones hold.
    breaks: Vec<usize>,
    status: &'static str,
}

impl Behaviour {
    fn good() -> Self {
        Self { content: CONTENT.to_vec(), knows_ranges: true, breaks: Vec::new(), status: "200 OK" }
    }
}

/// A server on a port of its own.
struct Server {
    url: String,
    /// The `Range` of each request, or nothing.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/files/", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&ranges);
        // Ends with the test's process.
        thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                serve(&behaviour, behaviour.breaks.get(index).copied(), stream.unwrap(), &log);
            }
        });
        Self { url, ranges }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

/// Notes the range of one request, then answers: who has the answer finds the note.
fn serve(behaviour: &Behaviour, breaks_after: Option<usize>, mut stream: TcpStream, log: &Mutex<Vec<Option<String>>>) {
    let request: Vec<String> =
        BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    assert_eq!(request[0], "GET /files/small.tar.gz HTTP/1.1");
    let range = request.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    log.lock().unwrap().push(range.clone());
    let total = behaviour.content.len();
    let asked = range.as_ref().filter(|_| behaviour.knows_ranges);
    let start: usize = asked.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    let head = match asked {
        Some(_) if start >= total => format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{total}"),
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}", total - 1),
        None => behaviour.status.to_owned(),
    };
    let body = behaviour.content.get(start..).unwrap_or_default();
    let sent = &body[..breaks_after.unwrap_or(body.len()).min(body.len())];
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
    stream.write_all(sent).unwrap();
}

fn fetch(url: &str, dir: &Path) -> Result<Fetched, FetchError> {
    Fetch { archive: ARCHIVE, base_url: url, dir, pause: Duration::ZERO }.run(&mut |_| {})
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn refusal(url: &str, dir: &Path) -> String {
    let message = fetch(url, dir).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn archive_is_downloaded_once() {
    let (server, parent) = (Server::start(Behaviour::good()), TempDir::new().unwrap());
    let dir = parent.path().join("data");
    let mut steps = Vec::new();
    let request = Fetch { archive: ARCHIVE, base_url: &server.url, dir: &dir, pause: Duration::ZERO };
    let fetched = request.run(&mut |progress| steps.push(progress)).unwrap();
    assert_eq!(fetched, Fetched::Downloaded(dir.join("small.tar.gz")));
    assert_eq!(fs::read(fetched.path()).unwrap(), CONTENT);
    let total = Some(CONTENT.len() as u64);
    assert_eq!(steps.first(), Some(&Progress { done: 0, total }));
    assert_eq!(steps.last(), Some(&Progress { done: CONTENT.len() as u64, total }));

    assert!(matches!(request.run(&mut |_| {}), Ok(Fetched::AlreadyThere(_))));
    assert_eq!((names(&dir), server.ranges()), (vec!["small.tar.gz".to_owned()], vec![None]));
}

#[test]
fn broken_connection_is_taken_up_where_it_broke() {
    let server = Server::start(Behaviour { breaks: vec![7, 20], ..Behaviour::good() });
    let dir = TempDir::new().unwrap();
    let fetched = fetch(&server.url, dir.path()).unwrap();
    assert_eq!(fs::read(fetched.path()).unwrap(), CONTENT);
    assert_eq!(server.ranges(), [None, Some("7-".to_owned()), Some("27-".to_owned())]);
}

#[test]
fn later_call_goes_on_from_what_came() {
    let server = Server::start(Behaviour { breaks: vec![9, 0, 0, 0, 0], ..Behaviour::good() });
    let dir = TempDir::new().unwrap();
    let message = refusal(&server.url, dir.path());
    assert!(message.contains("the connection broke after 9 bytes"), "{message}");
    assert!(message.ends_with("call again to go on from there"), "{message}");
    assert_eq!(names(dir.path()), ["small.tar.gz.partial"]);

    assert_eq!(fs::read(fetch(&server.url, dir.path()).unwrap().path()).unwrap(), CONTENT);
    assert_eq!(server.ranges().last(), Some(&Some("9-".to_owned())));
    assert_eq!(names(dir.path()), ["small.tar.gz"]);
}

#[test]
fn server_without_ranges_sends_all_again() {
    let server = Server::start(Behaviour { knows_ranges: false, breaks: vec![7], ..Behaviour::good() });
    let dir = TempDir::new().unwrap();
    assert_eq!(fs::read(fetch(&server.url, dir.path()).unwrap().path()).unwrap(), CONTENT);
    assert_eq!(server.ranges().len(), 2);
}

#[test]
fn whole_partial_file_is_only_checked_and_a_longer_one_started_again() {
    let server = Server::start(Behaviour::good());
    for surplus in [&b""[..], b"more"] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("small.tar.gz.partial"), [CONTENT, surplus].concat()).unwrap();
        assert_eq!(fs::read(fetch(&server.url, dir.path()).unwrap().path()).unwrap(), CONTENT);
    }
    assert_eq!(server.ranges(), [Some("40-".to_owned()), Some("44-".to_owned()), None]);
}

#[test]
fn wrong_content_is_removed_and_both_checksums_are_named() {
    let server = Server::start(Behaviour { content: b"another file".to_vec(), ..Behaviour::good() });
    let dir = TempDir::new().unwrap();
    let message = refusal(&server.url, dir.path());
    assert!(message.contains(ARCHIVE.md5) && message.contains("50e55790ffe629eab86d207fc98bf710"), "{message}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn file_of_the_same_name_is_left_alone() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("small.tar.gz"), "mine").unwrap();
    let message = refusal("http://127.0.0.1:1", dir.path());
    assert!(message.contains("is not the published archive") && message.ends_with("move it away and call again"));
    assert_eq!(fs::read(dir.path().join("small.tar.gz")).unwrap(), b"mine");
}

#[test]
fn missing_file_on_the_server_is_named() {
    let server = Server::start(Behaviour { status: "404 Not Found", ..Behaviour::good() });
    let dir = TempDir::new().unwrap();
    let message = refusal(&server.url, dir.path());
    assert!(message.contains("/files/small.tar.gz: the server answers 404 Not Found"), "{message}");
}

#[test]
fn without_a_server_it_is_said_what_to_do() {
    // Nobody listens on the port of the discard protocol.
    let address = "127.0.0.1:9";
    let dir = TempDir::new().unwrap();
    let message = refusal(&format!("http://{address}"), dir.path());
    assert!(message.starts_with(&format!("cannot reach http://{address}/small.tar.gz (")), "{message}");
    let advice = format!("download it on another and put small.tar.gz into {}", dir.path().display());
    assert!(message.contains(&advice), "{message}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn two_processes_do_not_write_one_file() {
    let dir = TempDir::new().unwrap();
    let _first = open_alone(&dir.path().join("small.tar.gz.partial")).unwrap();
    let message = refusal("http://127.0.0.1:1", dir.path());
    assert!(message.ends_with("is being written by another process: wait for it"), "{message}");
}
