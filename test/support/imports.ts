// What a source file imports, in every form that TypeScript and Node know, types included: a type that crosses a
// boundary ties the two sides together as much as a value does.
import { parseSync, Visitor, type Argument, type Expression } from "oxc-parser";

export interface Import {
  /** The module as written; undefined where it is computed at run time. */
  readonly specifier: string | undefined;
  /** Counted from 1. */
  readonly line: number;
}

/** The imports of one file in the order of its lines. Throws when the text is not valid TypeScript. */
export function importsOf(path: string, text: string): Import[] {
  const { program, errors } = parseSync(path, text);
  if (errors[0] !== undefined) throw new Error(`${path} cannot be parsed: ${errors[0].message}`);
  const found: Import[] = [];
  const add = (start: number, source: Expression | Argument | undefined): void => {
    const specifier =
      source?.type === "Literal" && typeof source.value === "string" ? source.value : undefined;
    found.push({ specifier, line: text.slice(0, start).split("\n").length });
  };
  new Visitor({
    ImportDeclaration: (node) => add(node.start, node.source),
    ExportAllDeclaration: (node) => add(node.start, node.source),
    ExportNamedDeclaration: (node) => {
      if (node.source !== null) add(node.start, node.source);
    },
    ImportExpression: (node) => add(node.start, node.source),
    TSImportType: (node) => add(node.start, node.source),
    TSExternalModuleReference: (node) => add(node.start, node.expression),
    CallExpression: (node) => {
      const { callee } = node;
      const isRequire = callee.type === "Identifier" && callee.name === "require";
      const isGetBuiltin =
        callee.type === "MemberExpression" &&
        callee.property.type === "Identifier" &&
        callee.property.name === "getBuiltinModule";
      if (isRequire || isGetBuiltin) add(node.start, node.arguments[0]);
    },
  }).visit(program);
  return found.sort((a, b) => a.line - b.line);
}
