//! Simulated time: stands still while any task can run, jumps to the next deadline when none can.

use super::*;

/// Where a simulated clock begins: far from zero, so that instants before the start exist.
const ORIGIN: Instant = Instant::from_nanos(1_000_000_000_000);

/// Wall time at [`ORIGIN`]: 2026-01-01T00:00:00Z.
const WALL_AT_ORIGIN: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000);

/// State of one simulated clock.
pub(super) struct World(Mutex<State>);

struct State {
    now: Instant,
    /// By how much somebody has set the wall clock forward, or back.
    wall_moved_s: i64,
    waiters: Waiters,
    /// No task could run and no deadline was left.
    stalled: bool,
    root: Option<Waker>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            now: ORIGIN,
            wall_moved_s: 0,
            waiters: Waiters::default(),
            stalled: false,
            root: None,
        })))
    }

    pub(super) fn now(&self) -> Instant {
        self.state().now
    }

    pub(super) fn wall(&self) -> UnixTime {
        let state = self.state();
        let wall = WALL_AT_ORIGIN + state.now.since(ORIGIN);
        let moved = Duration::from_secs(state.wall_moved_s.unsigned_abs());
        if state.wall_moved_s < 0 {
            UnixTime::from_nanos(wall.nanos().saturating_sub(moved.as_nanos() as u64))
        } else {
            wall + moved
        }
    }

    pub(super) fn step_wall(&self, by_s: i64) {
        let mut state = self.state();
        state.wall_moved_s = state.wall_moved_s.saturating_add(by_s);
    }

    pub(super) fn sleep_until(self: &Arc<Self>, deadline: Instant) -> Sleep {
        Sleep { world: Arc::clone(self), deadline, key: None }
    }

    /// Called when no task can run: moves to the next deadline and wakes one waiter.
    fn advance(&self) {
        let mut state = self.state();
        let waker = match state.waiters.earliest() {
            Some(deadline) => {
                state.now = state.now.max(deadline);
                let now = state.now;
                state.waiters.pop_due(now)
            }
            None => {
                state.stalled = true;
                state.root.take()
            }
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakers hold the runtime, which holds this clock: without this, every run would leave its descriptors open.
    fn forget_wakers(&self) {
        let mut state = self.state();
        let kept = (state.root.take(), std::mem::take(&mut state.waiters));
        drop(state);
        // Not under the lock: what goes with a waker may want it.
        drop(kept);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One wait on a simulated clock.
pub(super) struct Sleep {
    world: Arc<World>,
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let waiting = self.key.is_some_and(|key| state.waiters.refresh(key, context.waker()));
        if !waiting {
            let key = state.waiters.insert(self.deadline, context.waker().clone());
            drop(state);
            self.key = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.state().waiters.remove(key);
        }
    }
}

/// Every task of a simulated run waits for something that will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated run stands still: every task waits, and no deadline is left")]
pub struct Stalled;

/// Runs `main`, given a simulated clock, on a runtime of one thread until it is done.
///
/// `main` may spawn local tasks. Nothing in it may wait for another thread, a socket or tokio's own timer: simulated
/// time would run past them.
///
/// # Errors
/// [`Stalled`] when every task waits and no deadline is left, which would otherwise hang.
///
/// # Panics
/// When the operating system refuses a runtime, or when `main` panics.
pub fn simulate<F, Main>(main: Main) -> Result<F::Output, Stalled>
where
    Main: FnOnce(Clock) -> F,
    F: Future + 'static,
    F::Output: 'static,
{
    let world = World::new();
    let parked = Arc::clone(&world);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parked.advance())
        .build_local(Default::default())
        .expect("the operating system grants a runtime");
    let played = runtime.block_on(async {
        // In a task of its own: waking the root future does not count as work when the runtime decides to park, so
        // time could move while the root had something to do.
        let main = main(Clock(Kind::Simulated(Arc::clone(&world))));
        let mut main = tokio::task::spawn_local(main);
        std::future::poll_fn(|context| {
            if let Poll::Ready(joined) = Pin::new(&mut main).poll(context) {
                return Poll::Ready(match joined {
                    Ok(output) => Ok(output),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                });
            }
            let mut state = world.state();
            if state.stalled {
                return Poll::Ready(Err(Stalled));
            }
            state.root = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    });
    drop(runtime);
    world.forget_wakers();
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_passes_without_waiting_and_to_the_nanosecond() {
        let elapsed = simulate(|clock| async move {
            let start = clock.now();
            let other = clock.clone();
            let ticks = tokio::task::spawn_local(async move {
                for tick in 1..=3_600u64 {
                    other.sleep_until(start + Duration::from_nanos(tick * 1_000_000_001)).await;
                    assert_eq!(other.now().since(start).as_nanos() as u64, tick * 1_000_000_001);
                }
            });
            ticks.await.expect("the ticks end");
            clock.now().since(start)
        });
        assert_eq!(elapsed, Ok(Duration::from_nanos(3_600_000_003_600)));
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_deadline() {
        let elapsed = simulate(|clock| async move {
            let (start, wall) = (clock.now(), clock.wall());
            let sleep = clock.sleep(Duration::from_secs(10));
            clock.step_wall(-3_600);
            assert_eq!(clock.wall() + Duration::from_secs(3_600), wall);
            clock.step_wall(7_200);
            assert_eq!(clock.wall(), wall + Duration::from_secs(3_600));
            sleep.await;
            clock.now().since(start)
        });
        assert_eq!(elapsed, Ok(Duration::from_secs(10)));
    }

    #[test]
    fn time_stands_still_while_bytes_move_between_tasks() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let elapsed = simulate(|clock| async move {
            let start = clock.now();
            let (mut near, mut far) = tokio::io::duplex(16);
            let echo = tokio::task::spawn_local(async move {
                let mut byte = [0];
                while far.read_exact(&mut byte).await.is_ok() {
                    far.write_all(&byte).await.expect("the peer reads");
                }
            });
            // A deadline that must not be reached while the bytes above still move.
            let bystander = clock.sleep(Duration::from_secs(1));
            for _ in 0..1_000 {
                near.write_all(&[7]).await.expect("the peer reads");
                near.read_u8().await.expect("the peer answers");
            }
            drop(near);
            echo.await.expect("the echo ends");
            let elapsed = clock.now().since(start);
            bystander.await;
            elapsed
        });
        assert_eq!(elapsed, Ok(Duration::ZERO));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thousand_runs_leave_no_descriptor_open() {
        let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let before = open();
        for _ in 0..1_000 {
            let played = simulate(|clock| async move {
                let other = clock.clone();
                tokio::task::spawn_local(async move { other.sleep(Duration::from_secs(60)).await });
                clock.sleep(Duration::from_secs(1)).await;
            });
            assert_eq!(played, Ok(()));
        }
        // Other tests of this process open and close some of their own meanwhile.
        assert!(open() < before + 500, "{before} before, {} now", open());
    }

    #[test]
    fn a_run_in_which_everybody_waits_for_ever_is_told_as_stalled() {
        assert_eq!(simulate(|_| std::future::pending::<()>()), Err(Stalled));
    }
}
