"""A second opinion: Java's own ObjectInputStream reads what is written, and sees the same.

QuPath's classes are replaced by stand-ins that are generated from the class descriptors (name,
version, fields, superclass), which Java compares with those in the file.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from qpbridge.javastream.nodes import (
    ARRAY,
    ENUM,
    EXTERNALIZABLE,
    LONGSTRING,
    NULL,
    STRING,
    Node,
)
from qpbridge.javastream.stream import Stream, parse
from qpbridge.objects import ImageType, ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.embedded.qpdata.object_parts import BLOCKS, read_list
from qpbridge.project.interface import AnnotationUpdate, Edit, WorkflowStep

ENUM_FLAG = 0x10

DUMP = """
import java.io.*;
import java.lang.reflect.*;
import java.util.*;

public class Dump {
    static StringBuilder out = new StringBuilder();
    static IdentityHashMap<Object, Integer> seen = new IdentityHashMap<>();

    static void text(String s) {
        out.append('"');
        for (char c : s.toCharArray()) out.append(String.format("%04x", (int) c));
        out.append('"');
    }

    static void bytes(byte[] b) {
        for (byte one : b) out.append(String.format("%02x", one));
    }

    static void dump(Object o) throws Exception {
        if (o == null) { out.append("null"); return; }
        if (o instanceof String) { text((String) o); return; }
        if (o instanceof Enum) { out.append("enum "); text(((Enum<?>) o).name()); return; }
        if (o instanceof Double) {
            out.append(Long.toHexString(Double.doubleToRawLongBits((Double) o)));
            return;
        }
        if (o instanceof Float) {
            out.append(Integer.toHexString(Float.floatToRawIntBits((Float) o)));
            return;
        }
        if (o instanceof Number || o instanceof Boolean) { out.append(o); return; }
        if (seen.containsKey(o)) { out.append("#").append(seen.get(o)); return; }
        seen.put(o, seen.size());
        if (o.getClass().isArray()) {
            out.append("[");
            for (int i = 0; i < Array.getLength(o); i++) { dump(Array.get(o, i)); out.append(","); }
            out.append("]");
        } else if (o instanceof List) {
            out.append("(");
            for (Object one : (List<?>) o) { dump(one); out.append(","); }
            out.append(")");
        } else if (o instanceof Map) {
            out.append("map").append(((Map<?, ?>) o).size());
            if (o instanceof LinkedHashMap)
                for (Map.Entry<?, ?> e : ((Map<?, ?>) o).entrySet()) {
                    dump(e.getKey()); out.append("="); dump(e.getValue()); out.append(",");
                }
        } else if (o instanceof Locale) {
            out.append("locale");
        } else if (o instanceof base.StandIn) {
            out.append(o.getClass().getName()).append("{");
            for (Object one : ((base.StandIn) o).items) {
                if (one instanceof byte[]) bytes((byte[]) one); else dump(one);
                out.append(",");
            }
            out.append("}");
        } else {
            out.append(o.getClass().getName()).append("{");
            List<Class<?>> chain = new ArrayList<>();
            for (Class<?> c = o.getClass(); c != Object.class; c = c.getSuperclass())
                chain.add(0, c);
            for (Class<?> c : chain) {
                Field[] fields = c.getDeclaredFields();
                Arrays.sort(fields, Comparator.comparing(Field::getName));
                for (Field f : fields) {
                    if (Modifier.isStatic(f.getModifiers())) continue;
                    f.setAccessible(true);
                    out.append(f.getName()).append("="); dump(f.get(o)); out.append(",");
                }
            }
            out.append("}");
        }
    }

    public static void main(String[] args) throws Exception {
        for (String name : args) {
            out.setLength(0);
            seen.clear();
            try (FileInputStream file = new FileInputStream(name)) {
                ObjectInputStream in = new ObjectInputStream(new BufferedInputStream(file));
                out.append(in.readUTF());
                boolean end = false;
                while (!end) {
                    Object o = in.readObject();
                    out.append("\\n");
                    dump(o);
                    end = "EOF".equals(o);
                }
                if (file.available() > 0 || in.available() > 0) throw new IOException("more");
            }
            try (Writer w = new OutputStreamWriter(new FileOutputStream(name + ".txt"), "UTF-8")) {
                w.write(out.toString());
            }
        }
    }
}
"""

STAND_IN = """
package base;

import java.io.*;
import java.util.*;

public class StandIn implements Externalizable {
    private static final long serialVersionUID = 1;
    public transient List<Object> items = new ArrayList<>();
    public void writeExternal(ObjectOutput out) {}
    public void readExternal(ObjectInput in) throws IOException, ClassNotFoundException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        while (true) {
            try {
                Object o = in.readObject();
                if (bytes.size() > 0) { items.add(bytes.toByteArray()); bytes.reset(); }
                items.add(o);
            } catch (OptionalDataException e) {
                if (e.eof) break;
                byte[] block = new byte[e.length];
                in.readFully(block);
                bytes.write(block);
            }
        }
        if (bytes.size() > 0) items.add(bytes.toByteArray());
    }
}
"""


def java_type(name: str) -> str:
    depth = len(name) - len(name.lstrip("["))
    name = name[depth:]
    simple = {"B": "byte", "D": "double", "F": "float", "I": "int", "J": "long", "Z": "boolean"}
    base = name[1:-1].replace("/", ".") if name.startswith("L") else simple[name]
    return base + "[]" * depth


INTERFACE = "qupath.lib.objects.hierarchy.TMAGrid"


def stand_ins(streams: list[Stream]) -> dict[str, str]:
    """Java sources of QuPath's classes, from their descriptors; also of those only named."""
    bodies: dict[str, str] = {INTERFACE: "public interface TMAGrid {}"}
    named: set[str] = set()
    for stream in streams:
        for desc_node in stream.classes:
            desc = desc_node.desc
            assert desc is not None
            name = desc.name.rpartition(".")[2]
            if not desc.name.startswith("qupath.") or desc.name in bodies:
                continue
            inside = stream.expand(desc_node.items)
            types = [stream.text(n) for n in inside if n.tag != NULL and n.desc is None]
            fields = ""
            for field in desc.fields:
                kind = java_type(types[field.at] if field.type in "L[" else field.type)
                fields += f"{kind} {field.name}; "
                named |= {kind} if kind.startswith("qupath.") else set()
            version = f"private static final long serialVersionUID = {desc.uid}L;"
            parent = desc.parent.name if desc.parent is not None else ""
            above = f"extends {parent}" if parent else "implements java.io.Serializable"
            if desc.flags & EXTERNALIZABLE:
                above = f"extends {parent or 'base.StandIn'}"
            elif name == "DefaultTMAGrid":
                above = f"implements java.io.Serializable, {INTERFACE}"
            bodies[desc.name] = f"public class {name} {above} {{ {version} {fields} }}"
            if desc.flags & ENUM_FLAG:
                bodies[desc.name] = f"public enum {name} {{ {', '.join(ImageType.__members__)} }}"
    for full in named - set(bodies):
        name = full.rpartition(".")[2]
        bodies[full] = f"public class {name} implements java.io.Serializable {{}}"
    return {n: f"package {n.rpartition('.')[0]};\n{body}\n" for n, body in bodies.items()}


class Dumper:
    """Writes the same text as the Java program, from our own parse."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.seen: dict[int, int] = {}

    def all(self) -> str:
        contents = self.stream.expand(self.stream.contents)
        header = self.stream.block(contents[0])[2:].decode()
        return "\n".join([header, *(self.dump(node) for node in contents[1:])])

    def value(self, value: Any, letter: str) -> str:
        if letter in "DF":
            bits = struct.pack(f">{letter.lower()}", value)
            return f"{int.from_bytes(bits, 'big'):x}"
        return ("true" if value else "false") if letter == "Z" else str(value)

    def dump(self, node: Node) -> str:
        stream = self.stream
        node = stream.follow(node)
        if node.tag == NULL:
            return "null"
        if node.tag in (STRING, LONGSTRING, ENUM):
            units = stream.text(node).encode("utf-16-be", "surrogatepass").hex()
            return ("enum " if node.tag == ENUM else "") + f'"{units}"'
        name = node.class_name
        if name.startswith("java.lang."):
            desc = node.desc
            assert desc is not None
            return self.value(stream.number(node, "value"), desc.fields[0].type)
        if node.handle in self.seen:
            return f"#{self.seen[node.handle]}"
        self.seen[node.handle] = len(self.seen)
        if node.is_numbers:
            return (
                "["
                + "".join(self.value(v, name[1]) + "," for v in stream.array(node).tolist())
                + "]"
            )
        if node.tag == ARRAY:
            return "[" + "".join(self.dump(n) + "," for n in stream.elements(node)) + "]"
        if (
            name == "java.util.ArrayList"
            or name == "java.util.CollSer"
            or "UnmodifiableList" in name
        ):
            return "(" + "".join(self.dump(n) + "," for n in read_list(stream, node)) + ")"
        if name == "java.util.Collections$SingletonMap":
            return "map1"
        if name in ("java.util.HashMap", "java.util.LinkedHashMap"):
            items = [n for n in stream.expand(node.parts[0].notes) if n.tag not in BLOCKS]
            out = f"map{len(items) // 2}"
            if name == "java.util.LinkedHashMap":
                pairs = zip(items[::2], items[1::2], strict=True)
                out += "".join(f"{self.dump(k)}={self.dump(v)}," for k, v in pairs)
            return out
        if name == "java.util.Locale":
            return "locale"
        out = name + "{"
        if node.desc is not None and node.desc.flags & EXTERNALIZABLE:
            block = b""
            for note in stream.expand(node.notes):
                if note.tag in BLOCKS:
                    block += stream.block(note)
                    continue
                out += (block.hex() + "," if block else "") + self.dump(note) + ","
                block = b""
            return out + (block.hex() + "," if block else "") + "}"
        for part in node.parts:
            for field in sorted(part.desc.fields, key=lambda f: f.name):
                if field.type in "L[":
                    out += f"{field.name}={self.dump(part.fields[field.at])},"
                else:
                    value = stream.number(node, field.name)
                    out += f"{field.name}={self.value(value, field.type)},"
        return out + "}"


def edited_files(shared: Path) -> list[bytes]:
    """Golden files as they are, and after all sorts of edits; and new files."""
    folder = shared / "qupath" / "golden"
    box = Shapes.from_geometries([shapely.box(0, 0, 9, 9), shapely.box(1, 1, 5, 5)])
    holed = shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 3, 3))
    odd = Shapes.from_geometries([holed, shapely.LineString([(0, 0), (5, 5), (7, 0)])])
    files = []
    for path in sorted(folder.glob("*/*/project/data/1/data.qpdata"))[::2]:
        data = path.read_bytes()
        files.append(data)
        table = read_image_data(data).objects
        step = WorkflowStep("step µ", "script", {"a": "b", "😀": "c"})
        add = ObjectTable.new(
            ObjectKind.DETECTION,
            box,
            path_class=PathClass(("Tumor", "New"), (1, 2, 3)),
            measurement_names=["Area µm^2", "x"],
            measurements=np.arange(4).reshape(2, 2),
        )
        other = ObjectTable.new(ObjectKind.ANNOTATION, odd, path_class=PathClass(("Tumor",)))
        edit = Edit(add=add, steps=[step], image_type=ImageType.BRIGHTFIELD_H_E)
        files += [apply_edit(data, edit), apply_edit(None, Edit(add=other, steps=[step]))]
        if "v0.3.2" in path.parts:
            continue
        update = AnnotationUpdate(metadata={"a": "b"}, measurements={"m": 1.0})
        for rows in ([0], range(0, len(table), 2), range(1, len(table), 3), range(len(table))):
            rows = [row for row in rows if row < len(table)]
            kept = [i for i in range(len(table)) if i not in rows][-1:]
            below = np.tile(table.ids[kept[0]], (2, 1)) if kept else None
            changed = Edit(
                remove=table.ids[rows],
                add=other if rows else add,
                add_below=below,
                update={table.ids[i].tobytes(): update for i in kept},
            )
            files.append(apply_edit(data, changed))
    return files


@pytest.mark.skipif(not shutil.which("javac"), reason="no Java compiler on this machine")
def test_java_reads_what_we_write(shared: Path, tmp_path: Path) -> None:
    files = edited_files(shared)
    streams = [parse(data, bulk=False) for data in files]
    sources = stand_ins(streams) | {"base.StandIn": STAND_IN, "Dump": DUMP}
    paths = []
    for name, source in sources.items():
        path = tmp_path / "src" / (name.replace(".", "/") + ".java")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        paths.append(str(path))
    classes = str(tmp_path / "classes")
    subprocess.run(["javac", "-nowarn", "-encoding", "UTF-8", "-d", classes, *paths], check=True)
    names = []
    for i, data in enumerate(files):
        path = tmp_path / f"{i}.qpdata"
        path.write_bytes(data)
        names.append(str(path))
    subprocess.run(["java", "-cp", classes, "Dump", *names], check=True)
    for name, stream in zip(names, streams, strict=True):
        assert Path(name + ".txt").read_text() == Dumper(stream).all(), name
