/**
 * Renders openapi.json as a page: calls, parameters, answers, events, problem codes and types.
 *
 * Everything is set as text, never as markup, and nothing is asked of another host.
 */

/** @param {string} name @param {Record<string, string>} attributes @param {(Node | string)[]} children */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const code = (/** @type {string} */ text) => element("code", {}, text);
const last = (/** @type {string} */ reference) => reference.split("/").at(-1) ?? reference;

/** A sentence whose `quoted` words are code. */
const prose = (/** @type {string} */ text) =>
  joined(text.split("`").map((part, index) => (index % 2 ? code(part) : document.createTextNode(part))), "");

/** A schema in a few words, types linked to their place on this page. @returns {Node} */
function typeOf(/** @type {any} */ schema) {
  if (!schema || !Object.keys(schema).length) return document.createTextNode("anything");
  if (schema.$ref) {
    const name = last(schema.$ref);
    return element("a", { href: `#type-${name}` }, code(name));
  }
  if (schema.anyOf ?? schema.oneOf) return joined((schema.anyOf ?? schema.oneOf).map(typeOf), " or ");
  if ("const" in schema) return code(JSON.stringify(schema.const));
  if (schema.enum) return joined(schema.enum.map((/** @type {any} */ one) => code(JSON.stringify(one))), " or ");
  if (schema.type === "array") {
    const items = schema.items ? typeOf(schema.items) : document.createTextNode("anything");
    return joined([document.createTextNode("list of"), items], " ");
  }
  if (schema.contentSchema) return joined([document.createTextNode("JSON of"), typeOf(schema.contentSchema)], " ");
  return document.createTextNode([].concat(schema.type ?? "anything").join(" or ") + bounds(schema));
}

function bounds(/** @type {any} */ schema) {
  const said = [];
  if (schema.minLength !== undefined) said.push(`at least ${schema.minLength}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.minimum !== undefined) said.push(`from ${schema.minimum} on`);
  if (schema.maximum !== undefined) said.push(`${schema.maximum} at most`);
  return said.length ? ` (${said.join(", ")})` : "";
}

function joined(/** @type {Node[]} */ nodes, /** @type {string} */ separator) {
  const whole = document.createDocumentFragment();
  nodes.forEach((node, index) => whole.append(...(index ? [separator, node] : [node])));
  return whole;
}

/** @param {string[]} heads @param {(Node | string)[][]} rows */
function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("div", { class: "wide" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

function call(/** @type {string} */ path, /** @type {string} */ method, /** @type {any} */ operation) {
  const title = element("h3", { id: operation.operationId },
    element("span", { class: `method ${method}` }, method.toUpperCase()), " ", code(path));
  const needs = operation.security.map((/** @type {any} */ one) =>
    Object.entries(one).map(([name, scopes]) => [name, ...scopes].join(" ")).join()).join(" or ");
  const parts = [title, element("p", {}, operation.summary, needs ? ` — needs: ${needs}` : " — needs no credentials")];
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) parts.push(element("p", {}, "Body: ", typeOf(body)));
  if (operation.parameters) {
    parts.push(table(["parameter", "in", "type", ""], operation.parameters.map((/** @type {any} */ one) =>
      [code(one.name), one.in, typeOf(one.schema), prose(one.description ?? "")])));
  }
  parts.push(table(["status", "", "content"], Object.entries(operation.responses).map(([status, answer]) =>
    [code(status), prose(answer.description), content(answer)])));
  return element("article", {}, ...parts);
}

function content(/** @type {any} */ answer) {
  const kinds = Object.entries(answer.content ?? {}).map(([type, { schema }]) =>
    joined([code(type), typeOf(schema)], ": "));
  return joined(kinds, ", ");
}

function type(/** @type {string} */ name, /** @type {any} */ schema) {
  const title = element("h3", { id: `type-${name}` }, code(name));
  const variants = (schema.oneOf ?? [schema]).map(fieldsOf);
  return element("article", {}, title, element("p", {}, prose(schema.description ?? "")), ...variants);
}

function fieldsOf(/** @type {any} */ schema) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([field, one]) =>
    [code(field), typeOf(one), required.has(field) ? "always" : "may be absent"]);
  return fields.length ? table(["field", "type", ""], fields) : element("p", {}, typeOf(schema));
}

function render(/** @type {any} */ document_) {
  const calls = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  const links = calls.map(({ path, method, operation }) => element("li", {},
    element("a", { href: `#${operation.operationId}` }, code(`${method.toUpperCase()} ${path}`))));
  const pairs = (/** @type {Record<string, any>} */ of, /** @type {(value: any) => Node | string} */ show) =>
    Object.entries(of).map(([name, value]) => [code(name), show(value)]);
  document.getElementById("description")?.append(prose(document_.info.description));
  document.getElementById("contents")?.append(element("ul", {}, ...links));
  document.getElementById("main")?.replaceChildren(
    element("h2", {}, "Calls"), ...calls.map(({ path, method, operation }) => call(path, method, operation)),
    element("h2", { id: "events" }, "Events of a stream"), table(["event", "data"], pairs(document_["x-events"], typeOf)),
    element("h2", { id: "codes" }, "Problem codes"), table(["code", "meaning"], pairs(document_["x-problem-codes"], prose)),
    element("h2", { id: "types" }, "Types"), ...Object.entries(document_.components.schemas).map(([name, one]) => type(name, one)),
  );
}

const answer = await fetch("openapi.json");
if (answer.ok) render(await answer.json());
else document.getElementById("main")?.replaceChildren(`openapi.json: ${answer.status}`);
