//! Whose turn it is: so many calls run at a time, so many of one team, and teams take turns. Nobody waits behind
//! another team's queue, only behind its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Hands out places. Clones share them.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    per_team: usize,
    waiting_per_team: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    teams: HashMap<Arc<str>, Team>,
    /// Teams that have calls waiting, the next first.
    turns: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct Team {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The team has as many calls waiting as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A call's place among those that run; it is free again when this is dropped.
pub struct Place {
    team: Arc<str>,
    /// None for one that was never taken up.
    queue: Option<Queue>,
}

impl Queue {
    /// So many places in all, so many per team, and so many of a team that may wait.
    pub fn new(places: usize, per_team: usize, waiting_per_team: usize) -> Self {
        let state = Mutex::new(State { free: places, teams: HashMap::new(), turns: VecDeque::new() });
        Self { inner: Arc::new(Inner { per_team, waiting_per_team, state }) }
    }

    /// Waits for a place. Dropping the future gives the turn up.
    ///
    /// # Errors
    /// [`Full`] at once, if too many calls of the team wait.
    pub async fn enter(&self, team: &str) -> Result<Place, Full> {
        let turn = {
            let mut state = self.inner.state.lock();
            let team: Arc<str> = team.into();
            let known = state.teams.entry(Arc::clone(&team)).or_default();
            if known.waiting.len() >= self.inner.waiting_per_team {
                known.waiting.retain(|waiting| !waiting.is_closed());
            }
            // One that finds room does not wait, whatever the bound.
            let room = state.free > 0 && state.turns.is_empty();
            let known = state.teams.entry(Arc::clone(&team)).or_default();
            let goes_on = room && known.running < self.inner.per_team;
            if !goes_on && known.waiting.len() >= self.inner.waiting_per_team {
                return Err(Full);
            }
            let (sender, turn) = oneshot::channel();
            known.waiting.push_back(sender);
            if !state.turns.contains(&team) {
                state.turns.push_back(team);
            }
            self.hand_out(&mut state);
            turn
        };
        // The sender is dropped only with the queue.
        turn.await.map_err(|_| Full)
    }

    /// Gives free places to those whose turn it is.
    fn hand_out(&self, state: &mut State) {
        let mut passed = 0;
        while state.free > 0 && passed < state.turns.len() {
            let Some(name) = state.turns.pop_front() else { return };
            let Some(team) = state.teams.get_mut(&name) else { continue };
            let mut given = false;
            while !given && team.running < self.inner.per_team {
                let Some(waiting) = team.waiting.pop_front() else { break };
                let place = Place { team: Arc::clone(&name), queue: Some(self.clone()) };
                match waiting.send(place) {
                    Ok(()) => given = true,
                    // Nobody waits there any more. Its place was never taken up.
                    Err(mut place) => place.queue = None,
                }
            }
            if given {
                team.running += 1;
                state.free -= 1;
                passed = 0;
            } else {
                passed += 1;
            }
            if !team.waiting.is_empty() {
                state.turns.push_back(name);
            } else {
                passed = passed.saturating_sub(usize::from(!given));
                if team.running == 0 {
                    state.teams.remove(&name);
                }
            }
        }
    }

    fn leave(&self, team: &Arc<str>) {
        let mut state = self.inner.state.lock();
        state.free += 1;
        if let Some(known) = state.teams.get_mut(team) {
            known.running = known.running.saturating_sub(1);
            if known.running == 0 && known.waiting.is_empty() {
                state.teams.remove(team);
            }
        }
        self.hand_out(&mut state);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.leave(&self.team);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    fn enter(queue: &Queue, team: &str) -> Place {
        now(pin!(queue.enter(team))).unwrap().unwrap()
    }

    #[test]
    fn a_team_waits_behind_itself_alone() {
        let queue = Queue::new(4, 2, 10);
        let first = enter(&queue, "red");
        let _second = enter(&queue, "red");
        let mut third = pin!(queue.enter("red"));
        assert!(now(third.as_mut()).is_none(), "two of a team at a time");
        let _blue = enter(&queue, "blue");
        drop(first);
        assert!(now(third.as_mut()).is_some());
    }

    #[test]
    fn teams_take_turns() {
        let queue = Queue::new(1, 1, 200);
        let mut held = enter(&queue, "red");
        let mut waiting: Vec<_> = ["red"; 5]
            .into_iter()
            .chain(["blue"; 5])
            .map(|team| (team, Box::pin(queue.enter(team))))
            .collect();
        for (_, turn) in &mut waiting {
            assert!(now(turn.as_mut()).is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held);
            let ready = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(at, (_, turn))| now(turn.as_mut()).map(|place| (at, place.unwrap())));
            let (at, place) = ready.expect("a free place is handed on");
            order.push(waiting.remove(at).0);
            held = place;
        }
        let expected: Vec<_> = ["red", "blue"].into_iter().cycle().take(10).collect();
        assert_eq!(order, expected);
    }

    #[test]
    fn who_gives_up_costs_nobody_a_place() {
        let queue = Queue::new(1, 1, 2);
        let held = enter(&queue, "red");
        let mut gone = Box::pin(queue.enter("red"));
        let mut late = Box::pin(queue.enter("blue"));
        assert!(now(gone.as_mut()).is_none() && now(late.as_mut()).is_none());
        drop(gone);
        drop(held);
        let place = now(late.as_mut()).expect("blue's turn").unwrap();
        // Handed out, and given up before it was taken.
        let mut given = Box::pin(queue.enter("red"));
        assert!(now(given.as_mut()).is_none());
        drop(place);
        drop(given);
        let _all = enter(&queue, "green");
        assert_eq!(queue.inner.state.lock().teams.len(), 1, "idle teams are forgotten");
    }

    #[test]
    fn what_waits_is_bounded() {
        let queue = Queue::new(1, 1, 2);
        let _held = enter(&queue, "red");
        let mut first = Box::pin(queue.enter("red"));
        let mut second = Box::pin(queue.enter("red"));
        assert!(now(first.as_mut()).is_none() && now(second.as_mut()).is_none());
        assert_eq!(now(pin!(queue.enter("red"))).unwrap().err(), Some(Full));
        drop(first);
        let mut third = Box::pin(queue.enter("red"));
        assert!(now(third.as_mut()).is_none(), "the place of one that gave up");
    }
}
