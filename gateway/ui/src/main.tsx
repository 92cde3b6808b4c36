/** The page: a head with the key, and tabs. The two ports of the gateway have tabs of their own. */

import { render } from "preact";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { keepKey, type Limits, onLimits, port, readKey } from "./api";
import { Experiments } from "./experiments";
import { Keys } from "./keys";
import { Live } from "./live";
import { Models } from "./models";
import { Playground } from "./playground";
import "./style.css";

const TABS: Record<string, ComponentType> =
  port === "control" ? { Models, Keys, Experiments } : { Playground, Live };
const NAMES = Object.keys(TABS);

function Page() {
  const [key, setKey] = useState(readKey());
  const [used, setUsed] = useState(key);
  const [tab, setTab] = useState(NAMES[0]!);
  const [limits, setLimits] = useState<Limits>({});
  useEffect(() => onLimits(setLimits), []);
  const use = (event: Event) => {
    event.preventDefault();
    keepKey(key.trim());
    setLimits({});
    setUsed(key.trim());
  };
  return (
    <>
      <header>
        <h1>trtbuild gateway</h1>
        <nav role="tablist" aria-label="Views" onKeyDown={(event) => walk(event, tab, setTab)}>
          {NAMES.map((name) => (
            <button type="button" role="tab" id={`tab-${name}`} key={name} aria-selected={name === tab}
              aria-controls="view" tabIndex={name === tab ? 0 : -1} onClick={() => setTab(name)}>
              {name}
            </button>
          ))}
        </nav>
        <form onSubmit={use} class="key">
          <label>
            {port === "control" ? "Control token or admin's key" : "API key"}
            <input type="password" autocomplete="off" value={key} placeholder="none"
              onInput={(event) => setKey(event.currentTarget.value)} />
          </label>
          <button type="submit">Use</button>
        </form>
      </header>
      <Used limits={limits} />
      {NAMES.map((name) => {
        const View = TABS[name]!;
        return (
          <div class="view" id={name === tab ? "view" : undefined} key={`${name} ${used}`} role="tabpanel"
            aria-labelledby={`tab-${name}`} hidden={name !== tab}>
            <View />
          </div>
        );
      })}
    </>
  );
}

function walk(event: KeyboardEvent, tab: string, choose: (name: string) => void): void {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const name = NAMES[(NAMES.indexOf(tab) + step + NAMES.length) % NAMES.length]!;
  choose(name);
  document.getElementById(`tab-${name}`)?.focus();
}

function Used({ limits }: { limits: Limits }) {
  const units = ["requests", "tokens"].filter((unit) => limits[`limit-${unit}`]);
  if (!units.length) return null;
  return (
    <p class="limits" aria-label="Limits of the key">
      {units.map((unit) => (
        <span key={unit}>
          {limits[`remaining-${unit}`]} of {limits[`limit-${unit}`]} {unit} left
          {limits[`reset-${unit}`] && `, full in ${limits[`reset-${unit}`]}`}
        </span>
      ))}
    </p>
  );
}

render(<Page />, document.getElementById("page")!);
