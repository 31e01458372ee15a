"""Operators that write objects for other programs: export them, save their textures."""


# mypy: disable-error-code="valid-type"

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from ...backend.formats import FORMATS, TARGETS, Offer, offered
from ...backend.print_facts import SIZE
from ..scene import export, save_textures
from ..scene.made import is_made
from ..translations import in_words, translate

#: The format that fits the program best.
BEST = "best"
#: The items of the menus. Blender evaluates annotations by themselves, without what stands around them.
PROGRAMS = [(each.name, each.title, each.words) for each in TARGETS.values()]
WRITTEN = [(BEST, "Best for the Program", "The format that fits the program best")]
WRITTEN += [(name, FORMATS[name].title, FORMATS[name].words) for name in offered(Offer.BUTTON)]


def exportable(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects that can be exported: meshes that were made with Espalier."""
    return [target for target in context.selected_objects if target.type == "MESH" and is_made(target)]


class EspalierExport(bpy.types.Operator):
    """Save each selected object as a file for another program. The objects stay as they are"""

    bl_idname = "espalier.export"
    bl_label = "Export"
    bl_options = {"REGISTER"}

    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})
    target: EnumProperty(
        name="Program",
        description="The program that the files are for",
        items=PROGRAMS,
    )
    format: EnumProperty(
        name="Format",
        description="The file format",
        items=WRITTEN,
    )
    print_size: FloatProperty(
        name="Print Size",
        description="Length of the longest side in files for 3D printing, in millimeters",
        default=SIZE,
        min=1.0,
        max=10_000.0,
    )
    draco: BoolProperty(
        name="Draco",
        description="Compress the mesh in a .glb with Draco. Not every program can read it",
        default=False,
    )
    at_origin: BoolProperty(
        name="At the Origin",
        description="Put the object's origin at the origin of the file. Otherwise it stays where it is in the scene",
        default=True,
    )
    replace: BoolProperty(
        name="Replace Files",
        description="Replace files of the same names. Otherwise new files get a number",
        default=False,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set(translate("Switch to Object Mode first"))
            return False
        cls.poll_message_set(translate("Select an object made with Espalier"))
        return bool(exportable(context))

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        useful = {"print_size": FORMATS[self.chosen].print_size, "draco": self.chosen == "glb"}
        for name in ("target", "format", "print_size", "draco", "at_origin", "replace"):
            row = column.row()
            row.active = useful.get(name, True)
            row.prop(self, name)

    @property
    def chosen(self) -> str:
        """The format to write."""
        return TARGETS[self.target].formats[0] if self.format == BEST else self.format

    def execute(self, context: bpy.types.Context) -> set[str]:
        target = TARGETS[self.target]
        wrong = export.obstacle(self.chosen)
        if self.chosen not in target.formats:
            titles = ", ".join(FORMATS[name].title for name in target.formats)
            wrong = translate("Formats for {program}: {formats}").format(program=target.title, formats=titles)
        folder = Path(bpy.path.abspath(self.directory))
        if not wrong and not (self.directory and folder.is_dir()):
            wrong = translate("Choose a folder")
        if wrong:
            self.report({"ERROR"}, wrong)
            return {"CANCELLED"}
        wanted = export.Wanted(self.chosen, self.target, self.at_origin, self.print_size, self.replace, self.draco)
        written: list[Path] = []
        main = []
        for each in exportable(context):
            try:
                done = export.export(context, each, folder, wanted, written)
            except (OSError, RuntimeError, ValueError) as error:
                why = in_words(error, folder) if isinstance(error, OSError) else str(error)
                self.report({"ERROR"}, f"{each.name}: {why}")
                continue
            written += done.files
            main.append(done.files[0].name)
            for note in done.notes:
                self.report({"WARNING"}, f"{each.name}: {note}")
        if not main:
            return {"CANCELLED"}
        self.report({"INFO"}, translate("Exported: {files}").format(files=", ".join(main)))
        return {"FINISHED"}


class EspalierSaveTextures(bpy.types.Operator):
    """Save the packed textures of the selected objects in the folder textures beside the .blend, and use these files"""

    bl_idname = "espalier.save_textures"
    bl_label = "Save Textures"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.data.filepath:
            cls.poll_message_set(translate("Save the .blend file first"))
            return False
        cls.poll_message_set(translate("Select an object made with Espalier that has packed textures"))
        return bool(save_textures.packed_images(exportable(context)))

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            saved = save_textures.save(save_textures.packed_images(exportable(context)))
        except OSError as error:
            folder = bpy.path.abspath(save_textures.FOLDER)
            words = in_words(error, folder, "Free some space there, or save the .blend file in another folder.")
            self.report({"ERROR"}, words)
            return {"CANCELLED"}
        except RuntimeError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, translate("Saved: {files}").format(files=", ".join(path.name for path in saved)))
        return {"FINISHED"}


_classes = (EspalierExport, EspalierSaveTextures)
register, unregister = bpy.utils.register_classes_factory(_classes)
