/** The API keys: what each may do and until when. The gateway sends no secret. */

import { useEffect, useState } from "preact/hooks";
import { askJson, said } from "./api";

interface Key {
  id: string;
  name: string;
  state: string;
  created: string;
  expires: string | null;
  revoked: string | null;
  models: string[];
  endpoints: string[];
  admin: boolean;
  limits: Record<string, number>;
  masking: string;
}

export function Keys() {
  const [keys, setKeys] = useState<Key[]>([]);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    askJson<{ data: Key[] }>("v1/key/list", undefined, stop.signal).then(
      ({ data }) => setKeys(data),
      (error) => {
        if (!stop.signal.aborted) setProblem(said(error));
      },
    );
    return () => stop.abort();
  }, []);
  if (problem) return <p role="alert" class="error">{problem}</p>;
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Key</th><th scope="col">Id</th><th scope="col">State</th><th scope="col">Created</th>
          <th scope="col">Expires</th><th scope="col">Models</th><th scope="col">Endpoints</th>
          <th scope="col">Limits</th><th scope="col">Masking</th>
        </tr>
      </thead>
      <tbody>
        {keys.map((key) => (
          <tr key={key.id}>
            <th scope="row">{key.name}{key.admin && <span class="state"> admin</span>}</th>
            <td>{key.id}</td>
            <td class={key.state === "valid" ? "" : "error"}>{key.state}</td>
            <td>{day(key.created)}</td>
            <td>{day(key.revoked ?? key.expires)}</td>
            <td>{globs(key.models)}</td>
            <td>{globs(key.endpoints)}</td>
            <td>{limits(key.limits)}</td>
            <td>{key.masking}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const day = (time: string | null) => (time ? time.slice(0, 10) : "never");
const globs = (given: string[]) => (given.length === 1 && given[0] === "*" ? "all" : given.join(", "));
const limits = (given: Record<string, number>) =>
  Object.entries(given).map(([name, value]) => `${value} ${name.replaceAll("_", " ")}`).join(", ") || "common";
