//! `sre chat AGENT`: a conversation in the terminal, or from a pipe: one prompt a line.

pub mod screen;
pub mod talk;

use std::collections::VecDeque;
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::Result;
use serde_json::json;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::{
    CancelTurnRequest, Conversation, ConversationMode, ConversationSettings, GetConversationRequest,
    ListMessagesRequest, UpdateConversationRequest,
};
use tokio::sync::mpsc;

use crate::cli::args::{Chat, Global};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, complain};
use crate::client::Client;
use screen::Screen;
use talk::Talk;

/// Lines that may wait while an answer comes; the rest waits in the pipe.
const AHEAD: usize = 16;

const HELP: &str = "/cancel ends the answer that comes, /model [NAME] shows or sets the model, /history shows what was \
    said, /quit ends the chat (the conversation stays: --conversation takes it up again)";

/// Runs the command.
pub async fn run(global: &Global, arguments: Chat) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    let conversation = match &arguments.conversation {
        Some(name) => {
            let request = GetConversationRequest { name: name.clone() };
            client.conversations().get_conversation(request).await?.into_inner()
        }
        None => {
            let Some(agent) = &arguments.agent else {
                return Err(Failure::usage("name an agent, or a conversation with --conversation"));
            };
            let model = arguments.model.as_deref().unwrap_or_default();
            let mode = match arguments.planner {
                true => ConversationMode::Planner,
                false => ConversationMode::Unspecified,
            };
            let settings = ConversationSettings {
                model: model.to_owned(),
                mode: mode.into(),
                ..ConversationSettings::default()
            };
            talk::open(&client, &client.agent_name(agent), &arguments.title, settings).await?
        }
    };
    let mut room = Room {
        output,
        client,
        name: conversation.name.clone(),
        lines: lines(),
        ahead: VecDeque::new(),
        ended: false,
        asks: std::io::stdin().is_terminal() && !output.is_json(),
    };
    if let (Some(_), Some(model)) = (&arguments.conversation, &arguments.model) {
        room.set_model(model).await?;
    }
    if room.asks {
        complain(&format!("{}\n{HELP}", conversation.name));
    } else if output.is_json() {
        output.json(&json!({ "conversation": conversation.name }));
    }
    room.talk().await
}

/// The lines of the standard input, read by a thread of their own: a read there cannot be given up.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            // Nobody listens any more, or what comes is no text.
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

struct Room {
    output: Output,
    client: Client,
    name: String,
    lines: mpsc::Receiver<String>,
    /// Lines that came while an answer did.
    ahead: VecDeque<String>,
    /// Nothing comes any more.
    ended: bool,
    /// Whether a person types.
    asks: bool,
}

impl Room {
    async fn talk(&mut self) -> Result<()> {
        let mut failed = None;
        while let Some(line) = self.line().await? {
            let line = line.trim();
            let done = match line.split_once(' ').map_or((line, ""), |(word, rest)| (word, rest.trim())) {
                ("", _) => Ok(true),
                ("/quit" | "/exit", _) => return Ok(()),
                ("/help", _) => {
                    complain(HELP);
                    Ok(true)
                }
                ("/cancel", _) => {
                    complain("nothing is under way");
                    Ok(true)
                }
                ("/history", _) => self.history().await.map(|()| true),
                ("/model", "") => self.show_model().await.map(|()| true),
                ("/model", name) => self.set_model(name).await.map(|()| true),
                (word, _) if word.starts_with('/') => {
                    complain(&format!("there is no command {word}: {HELP}"));
                    Ok(true)
                }
                _ => self.prompt(line).await,
            };
            match done {
                Ok(answered) if !answered => failed = Some(Failure::failed("a prompt was not answered")),
                Ok(_) => {}
                // A person may try again.
                Err(error) if self.asks => complain(&crate::cli::exit::text(&error)),
                Err(error) => return Err(error),
            }
        }
        match failed {
            Some(failed) if !self.asks => Err(failed),
            _ => Ok(()),
        }
    }

    /// The next line; none at the end, which Ctrl-C is while nothing is under way.
    async fn line(&mut self) -> Result<Option<String>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        if self.ended {
            return Ok(None);
        }
        if self.asks {
            screen::print("> ");
        }
        tokio::select! {
            line = self.lines.recv() => Ok(line),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    }

    /// Asks and shows the answer. Whether it was one.
    async fn prompt(&mut self, text: &str) -> Result<bool> {
        let mut screen = Screen::new(self.output);
        let mut talk = Talk::ask(&self.client, &self.name, text).await?;
        let mut cancelled = false;
        loop {
            let more = !self.ended && self.ahead.len() < AHEAD;
            tokio::select! {
                event = talk.next() => {
                    let event = event?;
                    screen.show(&event);
                    if let Some(Event::End(end)) = &event.event {
                        return Ok(end.failure.is_none() || cancelled);
                    }
                }
                line = self.lines.recv(), if more => match line {
                    Some(line) if line.trim() == "/cancel" => {
                        cancelled = true;
                        cancel(&self.client, &self.name, talk.turn()).await;
                    }
                    Some(line) => self.ahead.push_back(line),
                    None => self.ended = true,
                },
                _ = tokio::signal::ctrl_c() => {
                    cancelled = true;
                    cancel(&self.client, &self.name, talk.turn()).await;
                }
            }
        }
    }

    async fn history(&self) -> Result<()> {
        let mut after = 0;
        loop {
            let request = ListMessagesRequest { name: self.name.clone(), page_size: 0, after };
            let page = self.client.conversations().list_messages(request).await?.into_inner();
            for message in page.messages {
                if self.output.is_json() {
                    self.output.json(&json!({
                        "sequence": message.sequence, "role": message.role, "text": message.text,
                        "internal": message.internal,
                    }));
                } else if !message.internal {
                    self.output.note(&format!("{}: {}", message.role, message.text));
                }
            }
            after = page.next_after;
            if after == 0 {
                return Ok(());
            }
        }
    }

    async fn show_model(&self) -> Result<()> {
        let request = GetConversationRequest { name: self.name.clone() };
        self.say_model(&self.client.conversations().get_conversation(request).await?.into_inner());
        Ok(())
    }

    async fn set_model(&self, name: &str) -> Result<()> {
        let request = UpdateConversationRequest {
            name: self.name.clone(),
            model: Some(name.to_owned()),
            ..UpdateConversationRequest::default()
        };
        self.say_model(&self.client.conversations().update_conversation(request).await?.into_inner());
        Ok(())
    }

    fn say_model(&self, conversation: &Conversation) {
        let model =
            conversation.settings.as_ref().map(|settings| settings.model.as_str()).unwrap_or_default();
        let shown = if model.is_empty() { "the agent's own" } else { model };
        if self.output.is_json() {
            self.output.json(&json!({ "model": model }));
        } else {
            self.output.note(&format!("model: {shown}"));
        }
    }
}

async fn cancel(client: &Client, name: &str, turn: &str) {
    let request = CancelTurnRequest {
        name: name.to_owned(),
        turn: turn.to_owned(),
        reason: "cancelled by the user".to_owned(),
    };
    if let Err(status) = client.conversations().cancel_turn(request).await {
        complain(&format!("it cannot be cancelled: {}", status.message()));
    }
}
