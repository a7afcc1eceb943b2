//! A bad network: stands between two processes and cuts, resets, silences, slows and forgets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// Who is behind a link.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    /// PostgreSQL on its socket: messages are told apart, so that a COMMIT can be lost.
    Postgres(PathBuf),
}

/// How bytes pass, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Passage {
    Open,
    /// Nothing passes, not even that an end was closed; new connections are accepted. A cable that was pulled.
    Silent,
    /// One byte at a time, and so long between two.
    Trickle(Duration),
    /// Everything comes so much later.
    Late(Duration),
    /// New connections are reset.
    Shut,
}

/// How connections that exist end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// Both sides are told in order (FIN).
    Close,
    /// Both sides are told by RST.
    Reset,
    /// Only the far side is told; the one that connected waits for ever, unless it asks. A NAT that forgot.
    Forget,
    /// Only the one that connected is told; the far side keeps the connection, and what it holds for it. A machine that
    /// lost its power and came back.
    Strand,
}

/// Which half of a COMMIT is lost, with its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Half {
    /// The server never hears it: nothing was committed.
    Request,
    /// As `Request`, and the server is not told that the connection ended: the transaction stays, with its locks.
    Unheard,
    /// The server has committed, and nobody hears of it.
    Reply,
}

pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    place: Mutex<Place>,
    passage: watch::Sender<Passage>,
    /// Counted up to end the connections that exist, and how.
    ends: watch::Sender<(usize, End)>,
    requests: Losses,
    unheard: Losses,
    replies: Losses,
}

#[derive(Default)]
struct Losses {
    wanted: AtomicUsize,
    done: AtomicUsize,
}

impl Losses {
    fn take(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        let taken = self.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok();
        self.done.fetch_add(usize::from(taken), Ordering::SeqCst);
        taken
    }
}

impl Link {
    pub(crate) async fn to(place: Place) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            place: Mutex::new(place),
            passage: watch::Sender::new(Passage::Open),
            ends: watch::Sender::new((0, End::Close)),
            requests: Losses::default(),
            unheard: Losses::default(),
            replies: Losses::default(),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, accepting.clone()));
            }
        });
        Self { address, shared }
    }

    /// New connections lead elsewhere from now on.
    pub(crate) fn lead_to(&self, place: Place) {
        *self.shared.place.lock().expect("no panic") = place;
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.shared.passage.send_replace(passage);
    }

    /// Ends the connections that exist.
    pub(crate) fn end(&self, how: End) {
        self.shared.ends.send_modify(|(ends, last)| (*ends, *last) = (*ends + 1, how));
    }

    /// Loses so many of the next commits.
    pub(crate) fn lose_commits(&self, half: Half, times: usize) {
        self.losses(half).wanted.store(times, Ordering::SeqCst);
    }

    pub(crate) fn commits_lost(&self, half: Half) -> usize {
        self.losses(half).done.load(Ordering::SeqCst)
    }

    fn losses(&self, half: Half) -> &Losses {
        match half {
            Half::Request => &self.shared.requests,
            Half::Unheard => &self.shared.unheard,
            Half::Reply => &self.shared.replies,
        }
    }
}

async fn connection(near: TcpStream, shared: Arc<Shared>) {
    near.set_nodelay(true).ok();
    if *shared.passage.borrow() == Passage::Shut {
        near.set_zero_linger().ok();
        return;
    }
    // Before the connection: an end that is asked for meanwhile must not be missed.
    let ends = shared.ends.subscribe();
    let place = shared.place.lock().expect("no panic").clone();
    match place {
        Place::Tcp(address) => {
            let Ok(far) = TcpStream::connect(address).await else { return };
            far.set_nodelay(true).ok();
            let how = carry(near, far, [Cut::Anywhere, Cut::Anywhere], ends, &shared).await;
            if let Some((_, far)) = how {
                far.set_zero_linger().ok();
            }
        }
        Place::Postgres(socket) => {
            let Ok(far) = UnixStream::connect(socket).await else { return };
            carry(near, far, [Cut::Requests { started: false }, Cut::Replies], ends, &shared).await;
        }
    }
}

/// Carries bytes until the connection ends. Returns both sides when they are to be reset.
async fn carry<F: AsyncRead + AsyncWrite + Unpin>(
    mut near: TcpStream,
    mut far: F,
    [out, back]: [Cut; 2],
    mut ends: watch::Receiver<(usize, End)>,
    shared: &Shared,
) -> Option<(TcpStream, F)> {
    let how = {
        let (mut from_near, mut to_near) = near.split();
        let (mut from_far, mut to_far) = tokio::io::split(&mut far);
        tokio::select! {
            Ok(()) = ends.changed() => ends.borrow().1,
            end = pump(&mut from_near, &mut to_far, out, shared) => end,
            end = pump(&mut from_far, &mut to_near, back, shared) => end,
        }
    };
    match how {
        End::Close => None,
        End::Reset => {
            near.set_zero_linger().ok();
            Some((near, far))
        }
        End::Forget => {
            drop(far);
            // What it still says goes nowhere; until it gives up by itself.
            tokio::io::copy(&mut near, &mut tokio::io::sink()).await.ok();
            None
        }
        End::Strand => {
            drop(near);
            tokio::io::copy(&mut far, &mut tokio::io::sink()).await.ok();
            None
        }
    }
}

/// What is passed on as one piece.
enum Cut {
    Anywhere,
    /// Messages to PostgreSQL; the first has no type.
    Requests {
        started: bool,
    },
    /// Messages from PostgreSQL.
    Replies,
}

/// Passes pieces on; returns how the connection is to end.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut cut: Cut,
    shared: &Shared,
) -> End {
    let mut passage = shared.passage.subscribe();
    let (mut piece, mut last) = (Vec::new(), Instant::now());
    loop {
        let read = next(from, &mut cut, &mut piece).await;
        // Also the end of a connection does not pass a cable that was pulled.
        passage.wait_for(|passage| *passage != Passage::Silent).await.ok();
        if read.is_err() {
            return End::Close;
        }
        match (&cut, piece[0]) {
            (Cut::Requests { .. }, b'Q') if piece[5..] == *b"COMMIT\0" => {
                if shared.unheard.take() {
                    return End::Strand;
                } else if shared.requests.take() {
                    return End::Close;
                }
            }
            (Cut::Replies, b'C') if piece[5..] == *b"COMMIT\0" && shared.replies.take() => return End::Close,
            _ => {}
        }
        if deliver(to, &piece, &mut passage, &mut last).await.is_err() {
            return End::Close;
        }
    }
}

/// The next piece; an error at the end.
async fn next(from: &mut (impl AsyncRead + Unpin), cut: &mut Cut, piece: &mut Vec<u8>) -> io::Result<()> {
    let head = match cut {
        Cut::Anywhere => {
            piece.resize(16 << 10, 0);
            let length = from.read(piece).await;
            piece.truncate(*length.as_ref().unwrap_or(&0));
            return if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
        }
        Cut::Requests { started } => usize::from(std::mem::replace(started, true)),
        Cut::Replies => 1,
    };
    // A type, if any, and a length that counts itself.
    piece.clear();
    piece.resize(head + 4, 0);
    from.read_exact(piece).await?;
    let length: [u8; 4] = piece[head..].try_into().expect("four bytes");
    piece.resize(head + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut piece[head + 4..]).await?;
    Ok(())
}

async fn deliver(
    to: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    passage: &mut watch::Receiver<Passage>,
    last: &mut Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let now = *passage.borrow_and_update();
        let length = match now {
            Passage::Open | Passage::Shut => bytes.len(),
            Passage::Late(pause) => {
                // What follows at once was on its way already.
                if last.elapsed() > pause {
                    tokio::time::sleep(pause).await;
                }
                bytes.len()
            }
            Passage::Silent => {
                passage.changed().await.ok();
                continue;
            }
            Passage::Trickle(pause) => tokio::select! {
                _ = passage.changed() => continue,
                () = tokio::time::sleep(pause) => 1,
            },
        };
        to.write_all(&bytes[..length]).await?;
        *last = Instant::now();
        bytes = &bytes[length..];
    }
    Ok(())
}
