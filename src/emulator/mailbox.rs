//! What a hub hands to the connection that speaks for a device, from whatever thread.
//!
//! A connection that is idle and that nobody writes to has an empty one: a lock, a waker, a pointer to nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::hub::Displaced;
use super::twin::DesiredUpdate;

/// The mailbox of one connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waker: Option<Waker>,
    displaced: Option<Displaced>,
    /// Messages from the cloud may be waiting in the device's queue.
    has_messages: bool,
    /// Boxed, for most connections never get any.
    content: Option<Box<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    mail: VecDeque<Mail>,
    bytes: usize,
    /// Methods whose answer somebody waits for.
    pending: Vec<Pending>,
    last_rid: u64,
}

#[derive(Debug)]
struct Pending {
    rid: u64,
    answer: oneshot::Sender<MethodAnswer>,
}

/// What a device is told.
#[derive(Debug, Clone)]
pub(super) enum Mail {
    /// Its desired properties have changed.
    Desired(Arc<DesiredUpdate>),
    /// Somebody invokes a method.
    Method(Arc<MethodCall>),
}

/// A direct method on its way to the device.
#[derive(Debug, PartialEq)]
pub(super) struct MethodCall {
    pub(super) rid: u64,
    pub(super) name: String,
    /// JSON.
    pub(super) payload: Vec<u8>,
}

/// What the device answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MethodAnswer {
    pub(super) status: i32,
    pub(super) payload: Vec<u8>,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overfull;

/// What a connection finds when it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// It is to end.
    Displaced(Displaced),
    /// There is mail, or messages.
    Mail,
}

impl Mailbox {
    /// Looks whether there is anything, and has the task woken when there will be.
    ///
    /// * `wants_mail`: otherwise only the end counts
    pub(super) fn poll(&self, context: &mut Context<'_>, wants_mail: bool) -> Poll<Notice> {
        let mut inner = self.lock();
        if let Some(why) = inner.displaced {
            return Poll::Ready(Notice::Displaced(why));
        }
        if wants_mail && (inner.has_messages || inner.content.as_ref().is_some_and(|c| !c.mail.is_empty())) {
            return Poll::Ready(Notice::Mail);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Says that the connection is to end, and closes.
    pub(super) fn end(&self, why: Displaced) -> u64 {
        let mut inner = self.lock();
        inner.displaced = Some(why);
        inner.wake();
        inner.close()
    }

    /// Says that messages from the cloud may be waiting.
    pub(super) fn announce_messages(&self) {
        let mut inner = self.lock();
        inner.has_messages = true;
        inner.wake();
    }

    /// Whether messages may be waiting; not again until somebody says so.
    pub(super) fn take_announcement(&self) -> bool {
        std::mem::take(&mut self.lock().has_messages)
    }

    /// Tells of desired properties.
    ///
    /// # Errors
    /// [`Overfull`] if the device has not read what it was told before.
    pub(super) fn push_desired(&self, update: &Arc<DesiredUpdate>) -> Result<(), Overfull> {
        let mut inner = self.lock();
        inner.put(update.body.len(), || Mail::Desired(Arc::clone(update)))?;
        inner.wake();
        Ok(())
    }

    /// Hands over a method; the answer will come through the receiver, or nothing if the connection ends.
    ///
    /// # Errors
    /// [`Overfull`] if too many are unanswered, or the device has not read what it was told before.
    pub(super) fn invoke(
        &self,
        name: &str,
        payload: Vec<u8>,
    ) -> Result<(u64, oneshot::Receiver<MethodAnswer>), Overfull> {
        let mut inner = self.lock();
        if inner.displaced.is_some() {
            return Err(Overfull);
        }
        let content = inner.content.get_or_insert_default();
        // Whoever gave up waiting takes no room.
        content.pending.retain(|pending| !pending.answer.is_closed());
        if content.pending.len() >= MAX_PENDING {
            return Err(Overfull);
        }
        let rid = content.last_rid + 1;
        let call = Arc::new(MethodCall { rid, name: name.to_owned(), payload });
        inner.put(call.payload.len(), || Mail::Method(call))?;
        let (answer, receiver) = oneshot::channel();
        let content = inner.content.get_or_insert_default();
        content.last_rid = rid;
        content.pending.push(Pending { rid, answer });
        inner.wake();
        Ok((rid, receiver))
    }

    /// Passes a device's answer on; `false` if nobody waits for it.
    pub(super) fn answer(&self, rid: &str, answer: MethodAnswer) -> bool {
        let mut inner = self.lock();
        let Some(content) = &mut inner.content else { return false };
        let Ok(rid) = rid.parse::<u64>() else { return false };
        let Some(at) = content.pending.iter().position(|pending| pending.rid == rid) else { return false };
        content.pending.swap_remove(at).answer.send(answer).is_ok()
    }

    /// The oldest mail.
    pub(super) fn take(&self) -> Option<Mail> {
        let mut inner = self.lock();
        let content = inner.content.as_mut()?;
        let mail = content.mail.pop_front()?;
        content.bytes -= mail.size();
        Some(mail)
    }

    /// Lets go of all that waits for the connection, which has ended: nobody waits for its answers any more. How many
    /// changes of desired properties it was not told of.
    pub(super) fn close(&self) -> u64 {
        self.lock().close()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change made under the lock is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, bytes: usize, mail: impl FnOnce() -> Mail) -> Result<(), Overfull> {
        let content = self.content.get_or_insert_default();
        if content.mail.len() >= MAX_MAIL || content.bytes + bytes > MAX_BYTES {
            return Err(Overfull);
        }
        content.bytes += bytes;
        content.mail.push_back(mail());
        Ok(())
    }

    fn close(&mut self) -> u64 {
        let mail = self.content.take().map(|content| content.mail).unwrap_or_default();
        mail.iter().filter(|mail| matches!(mail, Mail::Desired(_))).count() as u64
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Mail {
    fn size(&self) -> usize {
        match self {
            Self::Desired(update) => update.body.len(),
            Self::Method(call) => call.payload.len(),
        }
    }
}

/// Mail that a connection may leave unread, in pieces and in bytes: several of the largest there is.
const MAX_MAIL: usize = 64;
const MAX_BYTES: usize = 512 * 1024;

/// Methods of one device that may be unanswered at a time.
const MAX_PENDING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(mailbox: &Mailbox, wants_mail: bool) -> Poll<Notice> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()), wants_mail)
    }

    fn update(bytes: usize) -> Arc<DesiredUpdate> {
        Arc::new(DesiredUpdate { version: 1, body: vec![0; bytes] })
    }

    #[test]
    fn an_idle_mailbox_is_small() {
        assert!(size_of::<Mailbox>() <= 40, "{}", size_of::<Mailbox>());
    }

    #[test]
    fn mail_comes_in_its_order_and_is_bounded_in_pieces_and_bytes() {
        let mailbox = Mailbox::default();
        assert_eq!(poll(&mailbox, true), Poll::Pending);
        for _ in 0..MAX_MAIL {
            assert_eq!(mailbox.push_desired(&update(1)), Ok(()));
        }
        assert_eq!(mailbox.push_desired(&update(1)), Err(Overfull));
        assert!(mailbox.invoke("m", Vec::new()).is_err());
        assert_eq!((poll(&mailbox, true), poll(&mailbox, false)), (Poll::Ready(Notice::Mail), Poll::Pending));
        while mailbox.take().is_some() {}
        assert_eq!(mailbox.push_desired(&update(MAX_BYTES)), Ok(()));
        assert_eq!(mailbox.push_desired(&update(1)), Err(Overfull));
        assert_eq!(mailbox.end(Displaced::Takeover), 1, "one that it was not told of");
        assert_eq!(poll(&mailbox, false), Poll::Ready(Notice::Displaced(Displaced::Takeover)));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn an_answer_reaches_whoever_waits_for_it_once() {
        let mailbox = Mailbox::default();
        let answer = |status| MethodAnswer { status, payload: Vec::new() };
        let (first, mut receiver) = mailbox.invoke("a", b"1".to_vec()).expect("room");
        let (second, given_up) = mailbox.invoke("b", b"2".to_vec()).expect("room");
        assert_eq!((first, second), (1, 2));
        drop(given_up);
        assert!(!mailbox.answer("3", answer(1)) && !mailbox.answer("x", answer(1)));
        assert!(!mailbox.answer("2", answer(1)), "nobody waits any more");
        assert!(mailbox.answer("1", answer(5)));
        assert!(!mailbox.answer("1", answer(6)));
        assert_eq!(receiver.try_recv(), Ok(answer(5)));
        let (_, mut unanswered) = mailbox.invoke("c", Vec::new()).expect("room");
        assert_eq!(mailbox.close(), 0);
        assert!(unanswered.try_recv().is_err());
        let waiting: Vec<_> =
            (0..MAX_PENDING).map(|_| mailbox.invoke("d", Vec::new()).expect("room")).collect();
        while mailbox.take().is_some() {}
        assert!(mailbox.invoke("d", Vec::new()).is_err());
        drop(waiting);
        assert!(mailbox.invoke("d", Vec::new()).is_ok());
    }
}
