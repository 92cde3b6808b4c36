/** One prompt for one model or two side by side. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { askJson, said } from "./api";
import { type Answer, bodyOf, chat, embed, type Message, nothingYet, type Options, type Part } from "./chat";
import { type Embedded, messagesOf, Turns, type Turn, Vectors } from "./turns";

interface Model {
  id: string;
  task: string;
}

interface Side {
  model: string;
  turns: Turn[];
  vectors?: Embedded;
}

const CHATS = ["generate", "chat", "vision-language"];
const EXAMPLE_TOOLS = `[{
  "type": "function",
  "function": {
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": {
      "type": "object",
      "properties": {"city": {"type": "string"}},
      "required": ["city"]
    }
  }
}]`;

export function Playground() {
  const [models, setModels] = useState<Model[]>([]);
  const [sides, setSides] = useState<Side[]>([{ model: "", turns: [] }]);
  const [text, setText] = useState("");
  const [images, setImages] = useState<string[]>([]);
  const [given, setGiven] = useState({ system: "", temperature: "", maxTokens: "", tools: "" });
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState<AbortController | null>(null);
  const usable = models.filter((one) => taskOf(one) !== "");

  const change = (index: number, how: (side: Side) => Side) =>
    setSides((now) => now.map((side, i) => (i === index ? how(side) : side)));
  const look = () =>
    askJson<{ data: Model[] }>("v1/models").then(
      ({ data }) => {
        setModels(data);
        const first = data.find((one) => taskOf(one) !== "")?.id ?? "";
        setSides((now) => now.map((side) => ({ ...side, model: side.model || first })));
        setProblem(first ? "" : "no model here makes text or vectors; load one, then look again");
      },
      (error) => setProblem(said(error)),
    );
  useEffect(() => void look(), []);
  useEffect(() => {
    const stop = (event: KeyboardEvent) => event.key === "Escape" && busy?.abort();
    document.addEventListener("keydown", stop);
    return () => document.removeEventListener("keydown", stop);
  }, [busy]);
  const end = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [sides]);

  const during = async (work: (tools: unknown[], signal: AbortSignal) => Promise<unknown>) => {
    const tools = toolsOf(given.tools);
    if (typeof tools === "string") {
      setProblem(tools);
      return;
    }
    const stop = new AbortController();
    setBusy(stop);
    setProblem("");
    setText("");
    setImages([]);
    await work(tools, stop.signal);
    setBusy(null);
  };

  const send = async () => {
    if (busy || !(text.trim() || images.length)) return;
    const asked: Message[] = [{ role: "user", content: contentOf(text, images) }];
    await during((tools, signal) =>
      Promise.all(
        sides.map((side, index) => {
          const task = taskOf(models.find((one) => one.id === side.model));
          if (task === "embed") return askVectors(side, index, signal);
          return converse(asked, { ...given, model: side.model, tools }, side, index, signal);
        }),
      ),
    );
  };

  const reply = (side: Side, index: number) => (results: Message[]) =>
    void during((tools, signal) => converse(results, { ...given, model: side.model, tools }, side, index, signal));

  const converse = async (asked: Message[], options: Options, side: Side, index: number, signal: AbortSignal) => {
    const history = [...messagesOf(side.turns, asked), ...asked];
    const tell = (answer: Answer) =>
      change(index, (now) => ({ ...now, turns: [...side.turns, { asked, answer, body: bodyOf(options, history) }] }));
    tell(nothingYet());
    await chat(options, history, signal, tell);
  };

  const askVectors = async (side: Side, index: number, signal: AbortSignal) => {
    const texts = text.split("\n").filter((line) => line.trim());
    try {
      const vectors = await embed(side.model, texts, signal);
      change(index, (now) => ({ ...now, vectors: { texts, vectors } }));
    } catch (error) {
      setProblem(said(error));
    }
  };

  return (
    <>
      <div class="bar">
        <button type="button" onClick={look}>Look for models</button>
        <label class="check">
          <input type="checkbox" checked={sides.length > 1}
            onChange={(event) => {
              const both = event.currentTarget.checked;
              setSides(([one]) => (both ? [one!, { model: usable[1]?.id ?? one!.model, turns: [] }] : [one!]));
            }} />
          Two models side by side
        </label>
        <button type="button" disabled={busy !== null}
          onClick={() => setSides((now) => now.map(({ model }) => ({ model, turns: [] })))}>
          New conversation
        </button>
      </div>
      {problem && <p role="alert" class="error">{problem}</p>}
      <div class={sides.length > 1 ? "sides two" : "sides"}>
        {sides.map((side, index) => (
          <section key={index} aria-label={`Model ${index + 1}`}>
            <label>
              Model
              <select value={side.model} disabled={busy !== null}
                onChange={(event) => {
                  const model = event.currentTarget.value;
                  change(index, () => ({ model, turns: [] }));
                }}>
                {usable.map((one) => <option key={one.id} value={one.id}>{one.id} ({one.task})</option>)}
              </select>
            </label>
            <Turns turns={side.turns} reply={busy ? null : reply(side, index)} />
            {side.vectors && <Vectors {...side.vectors} />}
          </section>
        ))}
      </div>
      <form ref={end} class="composer" onSubmit={(event) => { event.preventDefault(); void send(); }}>
        <label>
          Message <small>Enter sends, Shift+Enter breaks the line, Esc stops. For vectors: a text a line.</small>
          <textarea rows={3} value={text} onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              void send();
            }} />
        </label>
        <div class="bar">
          <button type="submit" class="main" disabled={busy !== null}>Send</button>
          <button type="button" disabled={busy === null} onClick={() => busy?.abort()}>Stop</button>
          <Images images={images} set={setImages} />
        </div>
        <Settings given={given} set={setGiven} />
      </form>
    </>
  );
}

type Given = { system: string; temperature: string; maxTokens: string; tools: string };

function Settings({ given, set }: { given: Given; set: (given: Given) => void }) {
  const take = (name: keyof Given) => (event: { currentTarget: { value: string } }) =>
    set({ ...given, [name]: event.currentTarget.value });
  return (
    <details>
      <summary>System prompt, sampling, tools</summary>
      <label>System prompt<textarea rows={2} value={given.system} onInput={take("system")} /></label>
      <div class="bar">
        <label>Temperature
          <input type="number" min="0" max="2" step="0.1" placeholder="model's" value={given.temperature}
            onInput={take("temperature")} />
        </label>
        <label>Maximum tokens
          <input type="number" min="1" placeholder="no limit" value={given.maxTokens} onInput={take("maxTokens")} />
        </label>
      </div>
      <label>Tools, a JSON list
        <textarea rows={4} spellcheck={false} value={given.tools} onInput={take("tools")} />
      </label>
      <button type="button" onClick={() => set({ ...given, tools: EXAMPLE_TOOLS })}>Example of a tool</button>
    </details>
  );
}

function Images({ images, set }: { images: string[]; set: (images: string[]) => void }) {
  const field = useRef<HTMLInputElement>(null);
  const add = async () => {
    set([...images, ...(await Promise.all([...(field.current!.files ?? [])].map(asDataUrl)))]);
    field.current!.value = "";
  };
  return (
    <div class="images">
      <label>Images<input ref={field} type="file" accept="image/*" multiple onChange={add} /></label>
      {images.map((url, index) => (
        <button type="button" key={url} aria-label={`Remove image ${index + 1}`}
          onClick={() => set(images.filter((_, i) => i !== index))}>
          <img src={url} alt="" />
        </button>
      ))}
    </div>
  );
}

/** Return what a model can be asked here: `chat`, `embed` or nothing. */
function taskOf(model: Model | undefined): string {
  if (!model) return "";
  return CHATS.includes(model.task) ? "chat" : model.task === "embed" ? "embed" : "";
}

function contentOf(text: string, images: string[]): string | Part[] {
  if (!images.length) return text;
  const shown = images.map((url): Part => ({ type: "image_url", image_url: { url } }));
  return text.trim() ? [...shown, { type: "text", text }] : shown;
}

/** Return the tools that a text describes, or what is wrong with it. */
function toolsOf(text: string): unknown[] | string {
  if (!text.trim()) return [];
  try {
    const tools: unknown = JSON.parse(text);
    return Array.isArray(tools) ? tools : "the tools are not a list: write [ … ] around them";
  } catch (error) {
    return `the tools are not JSON: ${said(error)}`;
  }
}

function asDataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
