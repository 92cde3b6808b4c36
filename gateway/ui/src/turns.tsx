/** What was asked and answered. */

import { useState } from "preact/hooks";
import { type Answer, cosine, type Message, type ToolCall } from "./chat";

/** What was sent, a user's message or the results of tools, and what came back. */
export interface Turn {
  asked: Message[];
  answer: Answer;
  body: Record<string, unknown>;
}

export interface Embedded {
  texts: string[];
  vectors: number[][];
}

/** Return turns as messages of the next request. What a failed answer said is left out, and a call that has
 * no result, because a chat template may refuse it. */
export function messagesOf(turns: Turn[], next: Message[]): Message[] {
  return turns.flatMap(({ asked, answer }, index) => {
    const answered = (turns[index + 1]?.asked ?? next).every(({ role }) => role === "tool");
    const calls = answered ? answer.calls : [];
    if (answer.error || !(answer.text || calls.length)) return [];
    return [...asked, { role: "assistant", content: answer.text, ...(calls.length && { tool_calls: calls }) }];
  });
}

export function Turns({ turns, reply }: { turns: Turn[]; reply: ((results: Message[]) => void) | null }) {
  const open = turns.at(-1)?.answer;
  return (
    <ol class="turns">
      {turns.map((turn, index) => (
        <li key={index}>
          {turn.asked.map((message, i) => <Asked key={i} message={message} />)}
          <Answered answer={turn.answer} />
          {turn.answer.done && <Curl body={turn.body} />}
        </li>
      ))}
      {open?.done && open.calls.length > 0 && reply && <li><Results calls={open.calls} reply={reply} /></li>}
    </ol>
  );
}

/** Fields for what the called functions return: the page runs none. */
function Results({ calls, reply }: { calls: ToolCall[]; reply: (results: Message[]) => void }) {
  const [results, setResults] = useState(calls.map(() => ""));
  const send = (event: Event) => {
    event.preventDefault();
    reply(calls.map(({ id }, i) => ({ role: "tool", tool_call_id: id, content: results[i]! })));
  };
  return (
    <form onSubmit={send}>
      {calls.map((call, index) => (
        <label key={call.id}>
          Result of {call.function.name}
          <textarea rows={1} value={results[index]} onInput={(event) => {
            const { value } = event.currentTarget;
            setResults((now) => now.map((one, i) => (i === index ? value : one)));
          }} />
        </label>
      ))}
      <button type="submit">Send results</button>
    </form>
  );
}

function Asked({ message }: { message: Message }) {
  if (typeof message.content === "string") return <p class="asked">{message.content}</p>;
  return (
    <div class="asked">
      {message.content.map((part, index) =>
        part.type === "text" ? <p key={index}>{part.text}</p> : <img key={index} src={part.image_url.url} alt="sent image" />,
      )}
    </div>
  );
}

function Answered({ answer }: { answer: Answer }) {
  return (
    <div class="answered" aria-live="polite" aria-busy={!answer.done}>
      {answer.reasoning && (
        <details open={!answer.text}>
          <summary>Reasoning</summary>
          <p class="text">{answer.reasoning}</p>
        </details>
      )}
      {answer.text && <p class="text">{answer.text}</p>}
      {answer.calls.map((call) => (
        <pre key={call.id} class="call">{call.function.name}({call.function.arguments})</pre>
      ))}
      {answer.error && <p role="alert" class="error">{answer.error}</p>}
      {answer.done ? <small class="figures">{figuresOf(answer)}</small> : <small>…</small>}
    </div>
  );
}

function figuresOf(answer: Answer): string {
  const made: string[] = [];
  if (answer.firstMs) made.push(`first token ${answer.firstMs.toFixed(0)} ms`);
  if (answer.tokens) made.push(`${answer.tokens} tokens`);
  const span = (answer.totalMs - answer.firstMs) / 1000;
  if (answer.tokens > 1 && span > 0.05) made.push(`${((answer.tokens - 1) / span).toFixed(1)} tokens/s`);
  made.push(`${(answer.totalMs / 1000).toFixed(2)} s`);
  if (answer.reason && answer.reason !== "stop") made.push(`ended: ${answer.reason}`);
  return made.join(" · ");
}

/** The request for a terminal. The key is a variable, so that none is copied. */
function Curl({ body }: { body: Record<string, unknown> }) {
  const [copied, setCopied] = useState(false);
  const url = new URL("../v1/chat/completions", location.href);
  const json = JSON.stringify(body).replaceAll("'", "'\\''");
  const command =
    `curl -N ${url} -H "Authorization: Bearer $API_KEY" -H 'content-type: application/json' -d '${json}'`;
  const copy = async () => {
    await navigator.clipboard.writeText(command);
    setCopied(true);
  };
  return (
    <details class="curl">
      <summary>As curl</summary>
      <pre>{command.length > 4000 ? `${command.slice(0, 4000)}…` : command}</pre>
      <button type="button" onClick={copy}>{copied ? "Copied" : "Copy"}</button>
    </details>
  );
}

export function Vectors({ texts, vectors }: Embedded) {
  return (
    <table class="vectors">
      <caption>Cosine of the texts' vectors, {vectors[0]?.length ?? 0} numbers each</caption>
      <thead>
        <tr><th scope="col">Text</th>{texts.map((_, i) => <th scope="col" key={i}>{i + 1}</th>)}</tr>
      </thead>
      <tbody>
        {texts.map((text, row) => (
          <tr key={row}>
            <th scope="row">{row + 1}. {text}</th>
            {vectors.map((other, i) => <td key={i}>{cosine(vectors[row]!, other).toFixed(3)}</td>)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
