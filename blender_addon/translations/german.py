"""German. Blender's own words where it has them."""

from __future__ import annotations

TEXTS = {
    # the panel
    "Object": "Objekt",
    "Advanced": "Erweitert",
    "Presets": "Voreinstellungen",
    "Drop images of one object": "Bilder eines Objekts",
    "onto the viewport": "in das Ansichtsfenster ziehen",
    "{n} views of one object": "{n} Ansichten eines Objekts",
    "Add Images...": "Bilder hinzufügen ...",
    "Choose Another Image...": "Anderes Bild wählen ...",
    # images
    "Add Images to Espalier": "Bilder zu Espalier hinzufügen",
    "Add reference images of one object: a single image or several views": (
        "Referenzbilder eines Objekts hinzufügen: ein einzelnes Bild oder mehrere Ansichten"
    ),
    "Replace": "Ersetzen",
    "Remove the images that are already in the list": "Die Bilder entfernen, die schon in der Liste stehen",
    "Add Image to Espalier": "Bild zu Espalier hinzufügen",
    "Add this image to the images of the object, as one more view": (
        "Dieses Bild als weitere Ansicht zu den Bildern des Objekts hinzufügen"
    ),
    "Generate 3D from Image": "3D aus Bild erzeugen",
    "Generate 3D from Images...": "3D aus Bildern erzeugen...",
    "Generate 3D (Install First)...": "3D erzeugen (erst installieren)...",
    "Generate a textured mesh from this image alone. It takes the place of the images in the list": (
        "Ein texturiertes Mesh aus diesem Bild allein erzeugen. Es ersetzt die Bilder in der Liste"
    ),
    "Open an image in the image editor": "Ein Bild im Bildeditor öffnen",
    "Add Image from Blend File": "Bild aus der Blend-Datei hinzufügen",
    "Add an image of this blend-file, such as a packed, generated, painted or pasted one": (
        "Ein Bild dieser Blend-Datei hinzufügen, etwa ein gepacktes, generiertes, gemaltes oder eingefügtes"
    ),
    "Image": "Bild",
    "An image of this blend-file": "Ein Bild dieser Blend-Datei",
    "An image of this blend-file, used instead of a file on disk": (
        "Ein Bild dieser Blend-Datei anstelle einer Bilddatei"
    ),
    "There are no images in this blend-file": "Diese Blend-Datei enthält keine Bilder",
    "Add Render Result": "Render-Resultat hinzufügen",
    "Add the last render result as it is now": "Das letzte Render-Resultat hinzufügen, wie es jetzt ist",
    "Nothing has been rendered yet": "Es wurde noch nichts gerendert",
    "Wait until the render has finished": "Warten, bis das Rendern abgeschlossen ist",
    "Paste Image": "Bild einfügen",
    "Add the image on the clipboard": "Das Bild aus der Zwischenablage hinzufügen",
    "There is no image on the clipboard": "In der Zwischenablage ist kein Bild",
    "There is no image on the clipboard, or the system does not pass it to Blender (as on X11)": (
        "In der Zwischenablage ist kein Bild, oder das System gibt es nicht an Blender weiter (etwa unter X11)"
    ),
    "Remove Image": "Bild entfernen",
    "Remove this image from the list. The image itself is kept": (
        "Dieses Bild aus der Liste entfernen. Das Bild selbst bleibt erhalten"
    ),
    "Move Image": "Bild verschieben",
    "Move this image in the list. The first image gives the object its name": (
        "Dieses Bild in der Liste verschieben. Das erste Bild gibt dem Objekt seinen Namen"
    ),
    "Path": "Pfad",
    "Path of the image file": "Pfad der Bilddatei",
    "Images": "Bilder",
    "The reference images of the object": "Die Referenzbilder des Objekts",
    # cut-outs
    "Cut-Out": "Freigestelltes Bild",
    "The object cut out of the image, edited by hand. It is used instead of the image": (
        "Das freigestellte Objekt, von Hand bearbeitet. Es wird anstelle des Bildes verwendet"
    ),
    "Point": "Punkt",
    "Use the object at a point of the image. Otherwise the largest one is used": (
        "Das Objekt an einem Punkt des Bildes verwenden. Sonst gilt das größte"
    ),
    "Point on the object, as fractions of the image's width and height from the top left": (
        "Punkt auf dem Objekt, als Anteile von Breite und Höhe des Bildes von links oben"
    ),
    "Edit Cut-Out": "Freistellen",
    "Paint in the image editor what is used of this image: erase what does not belong to the object, or restore it": (
        "Im Bildeditor malen, was von diesem Bild verwendet wird: wegradieren, was nicht "
        "zum Objekt gehört, oder es wiederherstellen"
    ),
    "{n} images of one object are enough": "{n} Bilder eines Objekts sind genug",
    "Show Cut-Outs": "Freistellungen zeigen",
    "Cut the object out of each image that came with this file. A file that is only looked at starts nothing": (
        "Das Objekt in jedem Bild freistellen, das mit dieser Datei kam. Eine Datei nur anzusehen, startet nichts"
    ),
    "Reset Cut-Out": "Freistellung zurücksetzen",
    "Use the automatic cut-out again, of the largest object in the image": (
        "Wieder automatisch freistellen, und zwar das größte Objekt im Bild"
    ),
    "Pick Object": "Objekt wählen",
    "Click on another object in this image. Without a click, the largest one is used": (
        "Ein anderes Objekt in diesem Bild anklicken. Ohne Klick gilt das größte"
    ),
    "Click Object": "Objekt anklicken",
    "Wait for a click on an object in the image editor": "Auf einen Klick auf ein Objekt im Bildeditor warten",
    "Click on the object. Esc: cancel": "Auf das Objekt klicken. Esc: abbrechen",
    "Reset the cut-out first: it was edited by hand": (
        "Erst die Freistellung zurücksetzen: Sie wurde von Hand bearbeitet"
    ),
    "The cut-out is not there yet": "Das Bild ist noch nicht freigestellt",
    "Edited by hand": "Von Hand bearbeitet",
    "Looking for the object...": "Das Objekt wird gesucht ...",
    "Alpha Brush": "Alpha-Pinsel",
    "Take the brush that erases from the cut-out, or the one that restores what was erased": (
        "Den Pinsel nehmen, der vom freigestellten Bild wegradiert, oder den, der Wegradiertes wiederherstellt"
    ),
    "Erase": "Radieren",
    "Restore": "Wiederherstellen",
    # model and quality
    "Model": "Modell",
    "Model that generates the object: its name or the path of its folder": (
        "Modell, das das Objekt erzeugt: sein Name oder der Pfad seines Ordners"
    ),
    "Model that generates the object. More models can be downloaded in the preferences": (
        "Modell, das das Objekt erzeugt. Weitere Modelle lassen sich in den Einstellungen herunterladen"
    ),
    "Quality": "Qualität",
    "Number of sampling steps. Fewer steps are faster, more steps give better results": (
        "Zahl der Sampling-Schritte. Weniger Schritte sind schneller, mehr Schritte ergeben bessere Ergebnisse"
    ),
    "Mini (Demo)": "Mini (Demo)",
    "{n} Step": "{n} Schritt",
    "{n} Steps": "{n} Schritte",
    "Distilled to a few steps: fast": "Auf wenige Schritte destilliert: schnell",
    "The model's full number of steps": "Die volle Schrittzahl des Modells",
    "Draft": "Entwurf",
    "Standard": "Standard",
    "Best": "Beste",
    "Custom": "Eigene",
    "Set the number of steps yourself, for the model that is not distilled if it is installed": (
        "Die Zahl der Schritte selbst festlegen, und zwar für das nicht destillierte Modell, falls es installiert ist"
    ),
    "Makes colors alone: nothing is metal or see-through.": "Macht nur Farben: nichts ist Metall oder durchsichtig.",
    "Makes colors, metal, roughness and see-through parts.": "Macht Farben, Metall, Rauheit und durchsichtige Teile.",
    "The grid of its shapes has {n} cells a side.": "Das Gitter seiner Formen hat {n} Zellen je Seite.",
    "Its networks take {size}.": "Seine Netze brauchen {size}.",
    "There is no fast version of it yet: {steps}.": "Eine schnelle Fassung gibt es noch nicht: {steps}.",
    "Resolutions: {list}.": "Auflösungen: {list}.",
    "It takes guides as they are, whatever the strength, and makes nothing anew in boxes.": (
        "Formvorlagen nimmt es, wie sie sind, was auch die Stärke ist, und in Quadern macht es nichts neu."
    ),
    "Finer shapes ({list}) are another download of {size}, in the preferences.": (
        "Feinere Formen ({list}) lassen sich in den Einstellungen nachladen: {size}."
    ),
    "{n} takes {full} of a graphics card's memory, with Low Memory {low}, as counted.": (
        "{n} braucht nach unserer Zählung {full} Speicher der Grafikkarte, mit „Wenig Speicher“ {low}."
    ),
    "There is no graphics card that can be used: an object takes very long.": (
        "Es gibt keine Grafikkarte, die sich nutzen lässt: Ein Objekt dauert sehr lange."
    ),
    "This graphics card has {card}, too little for {n}: turn on Low Memory.": (
        "Diese Grafikkarte hat {card}, zu wenig für {n}: „Wenig Speicher“ einschalten."
    ),
    "This graphics card has {card}, too little for {n}: choose {m}.": (
        "Diese Grafikkarte hat {card}, zu wenig für {n}: {m} wählen."
    ),
    "This graphics card has {card}, too little for {n}: choose {m}, with Low Memory.": (
        "Diese Grafikkarte hat {card}, zu wenig für {n}: {m} wählen, mit „Wenig Speicher“."
    ),
    "This graphics card has {card}, too little for this model: turn on Low Memory.": (
        "Diese Grafikkarte hat {card}, zu wenig für dieses Modell: „Wenig Speicher“ einschalten."
    ),
    "This graphics card has {card}, too little for this model: choose another one.": (
        "Diese Grafikkarte hat {card}, zu wenig für dieses Modell: ein anderes wählen."
    ),
    "Resolution": "Auflösung",
    "How fine the shape is. Finer shapes take more memory and time": (
        "Wie fein die Form ist. Feinere Formen brauchen mehr Speicher und Zeit"
    ),
    "Custom Resolution": "Eigene Auflösung",
    "Set how fine the shape is. Otherwise the model's default is used": (
        "Festlegen, wie fein die Form ist. Sonst gilt die Vorgabe des Modells"
    ),
    "How fine the shape is: cells along each side of the grid that it is made on. Only models of TRELLIS.2 have a "
    "choice": (
        "Wie fein die Form ist: Zellen je Seite des Gitters, auf dem sie entsteht. Nur Modelle von TRELLIS.2 haben "
        "eine Wahl"
    ),
    "This model takes the guide as it is: with a strength of 1, unless it is 0": (
        "Dieses Modell nimmt die Formvorlage, wie sie ist: mit der Stärke 1, wenn sie nicht 0 ist"
    ),
    "{name} was made by {model}, which makes nothing anew inside a box": (
        "{name} stammt von {model}, das in einem Quader nichts neu macht"
    ),
    "The model makes roughness and metal itself": "Das Modell macht Rauheit und Metall selbst",
    "Not measured yet on this machine": "Auf diesem Rechner noch nicht gemessen",
    "About {time} for an object, measured here": "Etwa {time} für ein Objekt, hier gemessen",
    "Custom Steps": "Eigene Schrittzahl",
    "Set the number of sampling steps. Otherwise the model's default is used": (
        "Die Zahl der Sampling-Schritte festlegen. Sonst gilt die Vorgabe des Modells"
    ),
    "Steps": "Schritte",
    "Number of sampling steps, for the shape and again for the detail. More steps take longer": (
        "Zahl der Sampling-Schritte, jeweils für die Form und für die Details. Mehr Schritte dauern länger"
    ),
    "Custom Guidance": "Eigene Führung",
    "Set how strongly the images guide the object. Otherwise the model's default is used": (
        "Festlegen, wie stark die Bilder das Objekt bestimmen. Sonst gilt die Vorgabe des Modells"
    ),
    "Guidance": "Führung",
    "How strongly the images guide the object": "Wie stark die Bilder das Objekt bestimmen",
    "Background": "Hintergrund",
    "Whether the background of the images is removed": "Ob der Hintergrund der Bilder entfernt wird",
    "Automatic": "Automatisch",
    "An image's own transparency is used. Other backgrounds are removed": (
        "Die Transparenz eines Bildes wird übernommen. Andere Hintergründe werden entfernt"
    ),
    "Always": "Immer",
    "Backgrounds are removed, also from images with transparency": (
        "Hintergründe werden entfernt, auch aus Bildern mit Transparenz"
    ),
    "Never": "Nie",
    "Images are used whole, for objects that already stand alone on black": (
        "Bilder werden ganz verwendet, für Objekte, die schon allein auf Schwarz stehen"
    ),
    "Background removed.": "Hintergrund entfernt.",
    "The object touches the edge of the image, so a part of it may be missing.": (
        "Das Objekt berührt den Rand des Bildes, also fehlt vielleicht ein Teil davon."
    ),
    "No object stands out from the background.": "Kein Objekt hebt sich vom Hintergrund ab.",
    "Views": "Ansichten",
    "How several images are combined": "Wie mehrere Bilder kombiniert werden",
    "All at Once": "Alle zugleich",
    "Every step uses all images. Best with few steps": (
        "Jeder Schritt nutzt alle Bilder. Am besten bei wenigen Schritten"
    ),
    "In Turn": "Abwechselnd",
    "Each step uses one of the images in turn. Faster, but needs many steps": (
        "Jeder Schritt nutzt reihum eines der Bilder. Schneller, braucht aber viele Schritte"
    ),
    # seed and variants
    "Seed": "Startwert",
    "Random seed. The same seed gives the same object, a different seed gives a different one": (
        "Zufallsstartwert. Derselbe Startwert ergibt dasselbe Objekt, ein anderer ein anderes"
    ),
    "Lock Seed": "Startwert sperren",
    "Keep this seed. Otherwise Generate 3D picks a new one each time": (
        "Diesen Startwert behalten. Sonst wählt „3D erzeugen“ jedes Mal einen neuen"
    ),
    "New Seed": "Neuer Startwert",
    "Pick a new random seed": "Einen neuen zufälligen Startwert wählen",
    "Variants": "Varianten",
    "Shape Strength": "Formstärke",
    "How closely the object follows the guide, if there is one. 1 takes its voxels as they are, 0 ignores it": (
        "Wie genau das Objekt der Vorlage folgt, falls es eine gibt. 1 übernimmt ihre Voxel unverändert, 0 "
        "lässt sie außer Acht"
    ),
    "Guide": "Formvorlage",
    "Mesh whose shape the object follows and whose place it takes, such as a blockout. Its children belong to it": (
        "Mesh, dessen Form das Objekt folgt und dessen Platz es einnimmt, etwa ein Blockout. Seine Kinder gehören dazu"
    ),
    "Guide of the restored object": "Formvorlage des Objekts",
    "Forget Guide": "Formvorlage vergessen",
    "Generate without the guide of the object whose settings were restored": (
        "Ohne die Formvorlage des Objekts erzeugen, dessen Einstellungen wiederhergestellt wurden"
    ),
    "Number of objects to generate side by side, each with its own seed": (
        "Zahl der Objekte, die nebeneinander erzeugt werden, jedes mit eigenem Startwert"
    ),
    # the object
    "Placement": "Platzierung",
    "Where to place the object": "Wo das Objekt platziert wird",
    "Free Ground": "Freier Platz",
    "Beside what is there, where nothing is in the way, or at the 3D cursor if you have moved it": (
        "Neben dem, was da ist, wo nichts im Weg steht; oder am 3D-Cursor, wenn er verschoben wurde"
    ),
    "3D Cursor": "3D-Cursor",
    "At the 3D cursor": "Am 3D-Cursor",
    "Ground": "Boden",
    "On the surface below the 3D cursor, or at height zero if there is none": (
        "Auf der Oberfläche unter dem 3D-Cursor, oder auf Höhe null, wenn dort keine ist"
    ),
    "World Origin": "Weltursprung",
    "At the origin of the world": "Am Ursprung der Welt",
    "Active Object": "Aktives Objekt",
    "At the location of the active object, with the same size": (
        "An der Position des aktiven Objekts und so groß wie dieses"
    ),
    "Size": "Größe",
    "Length of the object's longest side": "Länge der längsten Seite des Objekts",
    "Faces": "Flächen",
    "Maximum number of triangles in the finished mesh": "Höchstzahl der Dreiecke im fertigen Mesh",
    "Maximum Error": "Größter Fehler",
    "Custom Maximum Error": "Eigener größter Fehler",
    "Largest distance of the finished mesh from the decoded one, in percent of its longest side": (
        "Größter Abstand des fertigen Meshs vom dekodierten, in Prozent seiner längsten Seite"
    ),
    "Use as few triangles as keep the mesh this close to the decoded one, however many that are": (
        "So wenige Dreiecke verwenden, wie das Mesh so nah am dekodierten halten, gleich wie viele das sind"
    ),
    "Texture": "Textur",
    "Width and height of the texture in pixels": "Breite und Höhe der Textur in Pixeln",
    "Add Image Cameras": "Bildkameras hinzufügen",
    "Add the cameras that the images of the active object were taken with, with the images as their backgrounds": (
        "Die Kameras hinzufügen, mit denen die Bilder des aktiven Objekts aufgenommen wurden, "
        "mit den Bildern als Hintergrund"
    ),
    "Select an object whose texture was painted from its images": (
        "Ein Objekt auswählen, dessen Textur aus seinen Bildern gemalt wurde"
    ),
    "Quads": "Vierecke",
    "Cover the surface with quads along its curvature instead of triangles. A quad counts as two triangles": (
        "Die Oberfläche entlang ihrer Krümmung mit Vierecken statt Dreiecken belegen. Ein Viereck zählt doppelt"
    ),
    "Levels of Detail": "Detailstufen",
    "Also make the mesh with 50, 25 and 12 percent of its faces, for the same texture, as hidden objects": (
        "Das Netz auch mit 50, 25 und 12 Prozent seiner Flächen erzeugen, für dieselbe Textur, als verborgene Objekte"
    ),
    "Collision Hulls": "Kollisionshüllen",
    "Also make convex hulls for the collisions of game engines, as hidden objects": (
        "Auch konvexe Hüllen für die Kollisionen von Spiel-Engines erzeugen, als verborgene Objekte"
    ),
    "UDIM Tiles": "UDIM-Kacheln",
    "Lay the texture out in four UDIM tiles, each half as wide. glTF, which has no tiles, gets it whole": (
        "Die Textur auf vier UDIM-Kacheln verteilen, jede halb so breit. glTF kennt keine Kacheln und bekommt sie ganz"
    ),
    "{name} has other UDIM tiles than 1001, 1002, 1011 and 1012. Choose OBJ, FBX or USDZ": (
        "{name} hat andere UDIM-Kacheln als 1001, 1002, 1011 und 1012. Bitte OBJ, FBX oder USDZ wählen"
    ),
    "{name} has no UDIM tiles, but other images of the object do. Choose OBJ, FBX or USDZ": (
        "{name} hat keine UDIM-Kacheln, andere Bilder des Objekts aber schon. Bitte OBJ, FBX oder USDZ wählen"
    ),
    "{name} was painted on. Save it in the image editor first": (
        "{name} wurde bemalt. Bitte das Bild zuerst im Bildeditor speichern"
    ),
    "Texture Source": "Texturquelle",
    "Where the colors of the texture come from": "Woher die Farben der Textur stammen",
    "The picture for a model that makes colors alone, whose colors are coarse. The model's own colors for one that "
    "makes materials, whose colors are free of light": (
        "Das Bild bei einem Modell, das nur Farben macht: Seine sind grob. Die Farben des Modells bei einem, das "
        "Materialien macht: Sie sind frei von Licht"
    ),
    "The light of the images stays in the colors. Automatic takes the model's, without it": (
        "Das Licht der Bilder bleibt in den Farben. „Automatisch“ nimmt die des Modells, ohne Licht"
    ),
    "Vertex Colors": "Punktfarben",
    "The vertex colors of the decoded mesh. Every model has them": (
        "Die Punktfarben des dekodierten Meshs. Jedes Modell hat sie"
    ),
    "Picture": "Bild",
    "The images themselves, where they show the object, and its vertex colors elsewhere": (
        "Die Bilder selbst, wo sie das Objekt zeigen, sonst dessen Punktfarben"
    ),
    "Picture Strength": "Bildstärke",
    "How much of the images is painted onto the texture, if its source is the picture": (
        "Wie viel von den Bildern auf die Textur gemalt wird, wenn diese aus dem Bild stammt"
    ),
    "Keep Shading": "Schattierung behalten",
    "Leave the light and the shadows of the images in the texture, if its source is the picture": (
        "Licht und Schatten der Bilder in der Textur lassen, wenn diese aus dem Bild stammt"
    ),
    "Gaussians": "Gauß-Funktionen",
    "The 3D Gaussians around the surface. Sharper, but not every model has them": (
        "Die 3D-Gauß-Funktionen um die Oberfläche. Schärfer, aber nicht in jedem Modell vorhanden"
    ),
    "Normal Map": "Normalmap",
    "Roughness": "Rauheit",
    "How rough the surface is. It is never metal: an image does not tell": (
        "Wie rau die Oberfläche ist. Metall ist sie nie: Ein Bild verrät das nicht"
    ),
    "Constant": "Konstant",
    "The same roughness everywhere": "Überall dieselbe Rauheit",
    "Estimated": "Geschätzt",
    "By the highlights in the images, if the texture is painted from them. Where they show none, it is the constant": (
        "Nach den Glanzlichtern in den Bildern, wenn die Textur aus ihnen gemalt wird. Wo keine zu sehen sind, gilt "
        "der konstante Wert"
    ),
    "Bake the detail of the decoded mesh into a normal map, so that few faces look like many. Green is up, as in "
    "OpenGL": (
        "Die Details des dekodierten Meshs in eine Normalmap backen, sodass wenige Flächen wie viele aussehen. Grün "
        "zeigt nach oben, wie in OpenGL"
    ),
    "Ambient Occlusion": "Ambient Occlusion",
    "Bake an ambient occlusion map for game engines. It is part of exported glTF files and does not change renders": (
        "Eine Ambient-Occlusion-Map für Spiele-Engines backen. Sie ist in exportierten glTF-Dateien enthalten "
        "und ändert das Rendern nicht"
    ),
    "Keep Raw": "Rohfassung behalten",
    "Keep the mesh as it was decoded, with its vertex colors, as a second, hidden object": (
        "Das Mesh, wie es dekodiert wurde, mit seinen Punktfarben als zweites, verborgenes Objekt behalten"
    ),
    "Low Memory": "Wenig Speicher",
    "Keep each network in memory only while it is in use. Slower, with the same result": (
        "Jedes Netz nur im Speicher halten, solange es gebraucht wird. Langsamer, bei gleichem Ergebnis"
    ),
    "Retry Time": "Zeit für neue Versuche",
    "How many seconds to keep retrying when a shape does not match the image. 0 turns retries off": (
        "Wie viele Sekunden lang neu versucht wird, wenn eine Form nicht zum Bild passt. 0 schaltet dies aus"
    ),
    "Show Colors": "Farben zeigen",
    "When an object is ready, show textures where its button was pressed, unless other shading was chosen there": (
        "Ist ein Objekt fertig, dort Texturen zeigen, wo es erzeugt wurde, wenn dort nichts anderes eingestellt ist"
    ),
    "Show Espalier": "Espalier anzeigen",
    "Open the sidebar with Espalier's tab": "Die Seitenleiste mit dem Tab von Espalier öffnen",
    "Espalier is installed: its tab is open in the sidebar of the 3D viewport (N)": (
        "Espalier ist installiert: Sein Tab ist in der Seitenleiste der 3D-Ansicht geöffnet (N)"
    ),
    "Espalier is installed: press N in a 3D viewport and choose the tab Espalier": (
        "Espalier ist installiert: In einer 3D-Ansicht N drücken und den Tab Espalier wählen"
    ),
    "Say what has become of a job": "Sagen, was aus einem Auftrag geworden ist",
    "{name} is shown as wire, to see inside.": "{name} wird als Draht gezeigt, damit man hineinsieht.",
    "{name} is ready.": "{name} ist fertig.",
    "{name} is ready. Insert it from the Espalier tab of the sidebar.": (
        "{name} ist fertig. Im Tab Espalier der Seitenleiste kann es eingefügt werden."
    ),
    "{name} failed: {reason}": "{name} ist fehlgeschlagen: {reason}",
    "Show Texture": "Textur anzeigen",
    "Switch this viewport's Solid shading between texture and material colors": (
        "Die Solid-Schattierung dieses Ansichtsfensters zwischen Textur- und Materialfarben umschalten"
    ),
    # the button
    "Generate 3D": "3D erzeugen",
    "Generate a textured mesh from the images, in the background": (
        "Aus den Bildern im Hintergrund ein texturiertes Mesh erzeugen"
    ),
    "Install the backend first": "Zuerst das Backend installieren",
    "Add an image first": "Zuerst ein Bild hinzufügen",
    "The model {name} is missing. Download it or choose another one": (
        "Das Modell {name} fehlt. Es herunterladen oder ein anderes wählen"
    ),
    "There is no active object to take the location from": (
        "Es gibt kein aktives Objekt, dessen Position übernommen werden könnte"
    ),
    # candidates and the live preview
    "Explore": "Erkunden",
    "Make candidates with different seeds, without finishing them, and choose among them": (
        "Kandidaten mit verschiedenen Startwerten machen, ohne sie fertigzustellen, und unter ihnen wählen"
    ),
    "Make candidates in place of those that are there": "Kandidaten anstelle der vorhandenen machen",
    "Make candidates with the images and settings of the active object and other seeds, beside it": (
        "Kandidaten mit den Bildern und Einstellungen des aktiven Objekts und anderen Startwerten machen, daneben"
    ),
    "More": "Mehr",
    "Make further candidates beside those that are there": "Weitere Kandidaten neben den vorhandenen machen",
    "All Again": "Alle neu",
    "Make candidates with other seeds in place of those that are there": (
        "Kandidaten mit anderen Startwerten anstelle der vorhandenen machen"
    ),
    "Candidates": "Kandidaten",
    "Number of candidates that Explore makes, each with its own seed": (
        "Zahl der Kandidaten, die „Erkunden“ macht, jeder mit eigenem Startwert"
    ),
    "Candidate Views": "Ansichten der Kandidaten",
    "Which images each candidate is made from": "Aus welchen Bildern jeder Kandidat gemacht wird",
    "All Images": "Alle Bilder",
    "Each candidate is made from all images": "Jeder Kandidat wird aus allen Bildern gemacht",
    "One Each": "Je eines",
    "Each candidate is made from one image, in turn": "Jeder Kandidat wird aus einem Bild gemacht, der Reihe nach",
    "{n} candidates": "{n} Kandidaten",
    "Keys 1 to {n} over the viewport take one": "Tasten 1 bis {n} über der 3D-Ansicht nehmen einen",
    "Keys 1 to 9 and 0 over the viewport take one": "Tasten 1 bis 9 und 0 über der 3D-Ansicht nehmen einen",
    "{n} of {all} candidates": "{n} von {all} Kandidaten",
    "Take Candidate": "Kandidaten nehmen",
    "Finish this candidate, and put the others away. Shift-click to keep choosing": (
        "Diesen Kandidaten fertigstellen und die anderen weglegen. Mit Umschalt-Klick weiter wählen"
    ),
    "The picture shows its shape and rough colors. Finishing paints the image on": (
        "Das Bild zeigt seine Form und grobe Farben. Beim Fertigstellen wird das Referenzbild aufgemalt"
    ),
    "Take All": "Alle nehmen",
    "Finish all candidates that have not been taken yet": (
        "Alle Kandidaten fertigstellen, die noch nicht genommen wurden"
    ),
    "Put Away": "Weglegen",
    "Take none of the candidates that are left. They can be brought back": (
        "Keinen der übrigen Kandidaten nehmen. Sie können zurückgeholt werden"
    ),
    "Bring Back Candidates": "Kandidaten zurückholen",
    "Show the last candidates again, to take others of them": (
        "Die letzten Kandidaten wieder anzeigen, um andere davon zu nehmen"
    ),
    "Cancel Explore": "Erkunden abbrechen",
    "Make no more candidates. Those that are there stay": ("Keine weiteren Kandidaten machen. Die vorhandenen bleiben"),
    "Live": "Live",
    "Show a preview that follows the seed, the images and the other settings as they change": (
        "Eine Vorschau anzeigen, die dem Startwert, den Bildern und den anderen Einstellungen folgt"
    ),
    "Keep": "Behalten",
    "Finish the object of the live preview": "Das Objekt der Live-Vorschau fertigstellen",
    "The preview waits for the queue": "Die Vorschau wartet auf die Warteschlange",
    # jobs
    "{n} jobs": "{n} Aufträge",
    "Move Job": "Auftrag verschieben",
    "Generate this object earlier or later than others in the queue": (
        "Dieses Objekt früher oder später als andere in der Warteschlange erzeugen"
    ),
    "Loading the model": "Modell wird geladen",
    "Preparing the image": "Bild wird vorbereitet",
    "Analyzing the image": "Bild wird analysiert",
    "Shape": "Form",
    "Detail": "Details",
    "Surface": "Oberfläche",
    "Starting": "Wird gestartet",
    "Starting the backend": "Backend wird gestartet",
    "Waiting": "Wartet",
    "Canceling": "Wird abgebrochen",
    "{time} left": "noch {time}",
    "Cancel": "Abbrechen",
    "Stop generating this object": "Das Erzeugen dieses Objekts abbrechen",
    "Cancel All": "Alle abbrechen",
    "Stop generating all objects in the queue": "Das Erzeugen aller Objekte in der Warteschlange abbrechen",
    "Try Again": "Erneut versuchen",
    "Generate this object again, and all others that failed for the same reason": (
        "Dieses Objekt noch einmal erzeugen, und alle, die aus demselben Grund gescheitert sind"
    ),
    "{n} objects: {names}": "{n} Objekte: {names}",
    "Note": "Hinweis",
    "The history has no files of the newest objects. Inserting them again means generating them.": (
        "Der Verlauf hat keine Dateien der neuesten Objekte. Sie erneut einzufügen heißt, sie neu zu erzeugen."
    ),
    "It is generated again.": "Es wird neu erzeugt.",
    "Make the cut-outs again that could not be made": ("Noch einmal freistellen, was nicht freigestellt werden konnte"),
    "Try Again with Less Memory": "Mit weniger Speicher versuchen",
    "Try Another Seed": "Anderen Startwert versuchen",
    "Run Again": "Erneut ausführen",
    "Blender was closed before this job finished": "Blender wurde geschlossen, bevor dieser Auftrag fertig war",
    "Insert": "Einfügen",
    "Insert this object where it was meant to be. If that place is gone, insert it beside what is there": (
        "Dieses Objekt an seinem Platz einfügen. Gibt es diesen nicht mehr, neben dem, was da ist"
    ),
    "The object that it was made for was deleted": "Das Objekt, für das es erzeugt wurde, ist gelöscht",
    "The dropped image is the next object. For another view, turn off Replace at the bottom left": (
        "Das abgelegte Bild ist das nächste Objekt. Für eine weitere Ansicht links unten „Ersetzen“ ausschalten"
    ),
    "An object was generated": "Ein Objekt wurde erzeugt",
    "An object was made again in its place": "Ein Objekt wurde an seiner Stelle neu erzeugt",
    "Show Guide as Wire": "Formvorlage als Drahtgitter zeigen",
    "A guide is shown as wire": "Eine Formvorlage wird als Drahtgitter gezeigt",
    "An object got a new texture": "Ein Objekt bekam eine neue Textur",
    "Generated for a file or scene that is no longer open": (
        "Für eine Datei oder Szene erzeugt, die nicht mehr offen ist"
    ),
    "Finished before Blender was closed": "Fertig geworden, bevor Blender geschlossen wurde",
    "Finished before Blender was closed. It replaces {name}": (
        "Fertig geworden, bevor Blender geschlossen wurde. Es ersetzt {name}"
    ),
    "Waiting for {what} to finish": "Wartet, bis {what} beendet ist",
    "Dismiss": "Verwerfen",
    "Remove this job from the list, and all others that failed for the same reason": (
        "Diesen Auftrag aus der Liste entfernen, und alle, die aus demselben Grund gescheitert sind"
    ),
    "Remove this sentence from the panel": "Diesen Satz aus dem Bedienfeld entfernen",
    "Temporary Files...": "Temporäre Dateien ...",
    "Show where Blender keeps temporary files, in its own preferences": (
        "In Blenders Einstellungen zeigen, wo es temporäre Dateien ablegt"
    ),
    "Open Log": "Protokoll öffnen",
    "Open Preferences": "Einstellungen öffnen",
    "Open Espalier's preferences": "Die Einstellungen von Espalier öffnen",
    "Add Espalier Preset": "Espalier-Voreinstellung hinzufügen",
    "Add or remove an Espalier preset": "Eine Espalier-Voreinstellung hinzufügen oder entfernen",
    "Apply Preset": "Voreinstellung anwenden",
    "Use the settings of this preset": "Die Einstellungen dieser Voreinstellung verwenden",
    "Prop": "Requisite",
    "Game": "Spiel",
    "Print": "Druck",
    "Film": "Film",
    "For the background of a scene: 5,000 triangles, 1K texture, normal map": (
        "Für den Hintergrund einer Szene: 5.000 Dreiecke, 1K-Textur, Normal-Map"
    ),
    "For game engines: 10,000 triangles, levels of detail, collision hulls, 2K texture, normal and occlusion maps": (
        "Für Spiele-Engines: 10.000 Dreiecke, Detailstufen, Kollisionshüllen, 2K-Textur, Normal- und Verdeckungs-Map"
    ),
    "For 3D printing: up to 200,000 triangles that hold all detail, 2K texture for color prints, no other maps": (
        "Für den 3D-Druck: bis zu 200.000 Dreiecke mit allen Details, 2K-Textur für Farbdrucke, keine weiteren Maps"
    ),
    "For close-ups and further modeling: quads for 50,000 triangles, 4K texture, normal map, estimated roughness": (
        "Für Nahaufnahmen und zum Weitermodellieren: Vierecke statt 50.000 Dreiecken, 4K-Textur, Normal-Map, "
        "geschätzte Rauheit"
    ),
    # selected objects and the history
    "History": "Verlauf",
    "Regenerate with Panel Settings": "Mit Panel-Einstellungen neu erzeugen",
    "Regenerate with New Seed": "Mit neuem Startwert neu erzeugen",
    "Again Inside Box": "Im Quader neu erzeugen",
    "Generate the part of the object anew that the other selected object, a cube or an empty, encloses": (
        "Den Teil des Objekts neu erzeugen, den das andere ausgewählte Objekt, ein Würfel oder ein Empty, umschließt"
    ),
    "Select an object made with Espalier, and a cube or an empty around a part of it": (
        "Ein mit Espalier erzeugtes Objekt auswählen, und einen Würfel oder ein Empty um einen Teil davon"
    ),
    "Selected Object": "Ausgewähltes Objekt",
    "Seed {n}": "Startwert {n}",
    "and {n} more selected": "und {n} weitere ausgewählt",
    "Asset": "Asset",
    "Image Cameras": "Bildkameras",
    "Favorite": "Favorit",
    "Keep this result at the top of the history, also when older ones are dropped. Press again to undo this": (
        "Dieses Ergebnis oben im Verlauf behalten, auch wenn ältere entfallen. Noch einmal drücken macht es rückgängig"
    ),
    "There can be {n} favorites. Unmark another one first": (
        "Es kann {n} Favoriten geben. Erst einen anderen aufheben"
    ),
    "Rename": "Umbenennen",
    "Name": "Name",
    "Name of the result in the history": "Name des Ergebnisses im Verlauf",
    "Type a name": "Einen Namen eingeben",
    "Give this result another name. Objects that are inserted from it get this name": (
        "Dem Ergebnis einen anderen Namen geben. Objekte, die daraus eingefügt werden, heißen so"
    ),
    "Load the images and settings of this result into the panel": (
        "Die Bilder und Einstellungen dieses Ergebnisses in das Panel laden"
    ),
    "Removed {name}": "{name} entfernt",
    "Put Back": "Zurücklegen",
    "Put the result that was removed last back into the history": (
        "Das zuletzt entfernte Ergebnis wieder in den Verlauf aufnehmen"
    ),
    "Generated objects are listed here": "Erzeugte Objekte werden hier aufgelistet",
    "Count": "Anzahl",
    "Mode": "Modus",
    "Which images, settings and seed to use": "Welche Bilder, Einstellungen und welcher Startwert verwendet werden",
    "Number of variants to generate": "Zahl der Varianten, die erzeugt werden",
    "Insert Again": "Erneut einfügen",
    "Texture the selected objects from the images in the panel. Their shape does not change": (
        "Die ausgewählten Objekte nach den Bildern im Panel texturieren. Ihre Form ändert sich nicht"
    ),
    "Switch to Object Mode first": "Zuerst in den Objektmodus wechseln",
    "Made with Espalier, seed {seed}": "Mit Espalier erzeugt, Startwert {seed}",
    "Generate the selected objects again in place. Name, transform, parent and modifiers are kept": (
        "Die ausgewählten Objekte an Ort und Stelle neu erzeugen. Name, Transformation, Elternteil und "
        "Modifikatoren bleiben erhalten"
    ),
    "Generate variants of each selected object with new seeds, in a row beside it": (
        "Varianten jedes ausgewählten Objekts mit neuen Startwerten in einer Reihe daneben erzeugen"
    ),
    "Mark as Asset": "Als Asset markieren",
    "Mark the selected objects as assets for the Asset Browser, with a preview": (
        "Die ausgewählten Objekte mit Vorschaubild als Assets für den Asset-Browser markieren"
    ),
    "Export": "Exportieren",
    "Export...": "Exportieren ...",
    "Save each selected object as a file for another program. The objects stay as they are": (
        "Jedes ausgewählte Objekt als Datei für ein anderes Programm speichern. Die Objekte bleiben, wie sie sind"
    ),
    "Program": "Programm",
    "The program that the files are for": "Das Programm, für das die Dateien sind",
    "Any Program": "Beliebiges Programm",
    "No conventions of any program: green is up in normal maps": (
        "Keine Konventionen eines Programms: Grün ist in Normal-Maps oben"
    ),
    "FBX in centimeters, green down in normal maps, textures named _BC, _N and _ORM": (
        "FBX in Zentimetern, Grün in Normal-Maps unten, Texturen mit den Endungen _BC, _N und _ORM"
    ),
    "FBX with no scale and no rotation left on the object, textures named as its Lit shader names them": (
        "FBX ohne verbliebene Skalierung und Rotation am Objekt, Texturen benannt wie in Unitys Lit-Shader"
    ),
    "glTF, which Godot recommends": "glTF, wie Godot es empfiehlt",
    "glTF with textures of at most 4096 pixels, which nearly every browser can show": (
        "glTF mit Texturen von höchstens 4096 Pixeln, die fast jeder Browser zeigen kann"
    ),
    "3D Print": "3D-Druck",
    "The shape in millimeters, checked for printing": "Die Form in Millimetern, für den Druck geprüft",
    "Format": "Format",
    "The file format": "Das Dateiformat",
    "Best for the Program": "Das beste für das Programm",
    "The format that fits the program best": "Das Format, das am besten zum Programm passt",
    "One file with its textures, for the web and for engines": (
        "Eine Datei mit ihren Texturen, für das Web und für Engines"
    ),
    "A simple format with its material and textures as files beside it": (
        "Ein einfaches Format mit Material und Texturen als Dateien daneben"
    ),
    "What Unreal Engine and Unity import, with its textures as files beside it": (
        "Was Unreal Engine und Unity importieren, mit den Texturen als Dateien daneben"
    ),
    "For film and layout, with its textures as files beside it": (
        "Für Film und Layout, mit den Texturen als Dateien daneben"
    ),
    "USD in one file with its textures, also for phones": "USD in einer Datei mit ihren Texturen, auch für Telefone",
    "The shape alone, in millimeters, for 3D printing": "Nur die Form, in Millimetern, für den 3D-Druck",
    "The shape and its colors, in millimeters, for 3D printing": (
        "Die Form und ihre Farben, in Millimetern, für den 3D-Druck"
    ),
    "Print Size": "Druckgröße",
    "Length of the longest side in files for 3D printing, in millimeters": (
        "Länge der längsten Seite in Dateien für den 3D-Druck, in Millimetern"
    ),
    "At the Origin": "Im Ursprung",
    "Put the object's origin at the origin of the file. Otherwise it stays where it is in the scene": (
        "Den Ursprung des Objekts in den Ursprung der Datei legen. Sonst bleibt es, wo es in der Szene steht"
    ),
    "Replace Files": "Dateien ersetzen",
    "Compress the mesh in a .glb with Draco. Not every program can read it": (
        "Das Mesh in einer .glb mit Draco verkleinern. Nicht jedes Programm kann es lesen"
    ),
    "This Blender was built without Draco. Turn Draco off": "Dieses Blender hat kein Draco. Schalten Sie es aus",
    "Replace files of the same names. Otherwise new files get a number": (
        "Dateien mit denselben Namen ersetzen. Sonst bekommen neue Dateien eine Nummer"
    ),
    "Formats for {program}: {formats}": "Formate für {program}: {formats}",
    "Choose a folder": "Einen Ordner wählen",
    "Exported: {files}": "Exportiert: {files}",
    "Save Textures": "Texturen speichern",
    "Save the packed textures of the selected objects in the folder textures beside the .blend, and use these files": (
        "Die gepackten Texturen der ausgewählten Objekte im Ordner textures neben der .blend-Datei speichern und "
        "diese Dateien verwenden"
    ),
    "Save the .blend file first": "Zuerst die .blend-Datei speichern",
    "Select an object made with Espalier that has packed textures": (
        "Ein mit Espalier erstelltes Objekt mit gepackten Texturen auswählen"
    ),
    "Saved: {files}": "Gespeichert: {files}",
    "This Blender cannot write {format}: it was built without it, or its add-on is turned off": (
        "Dieses Blender kann {format} nicht schreiben: Es wurde ohne gebaut, oder das Add-on ist ausgeschaltet"
    ),
    "{name} has no size": "{name} hat keine Größe",
    "{name} could not be written": "{name} konnte nicht geschrieben werden",
    "At {n} edges the mesh is not closed. A printing program may refuse it, or repair it": (
        "An {n} Kanten ist das Mesh nicht geschlossen. Ein Druckprogramm könnte es ablehnen oder reparieren"
    ),
    "Printed {size} mm large, {share} % of the surface has walls under {wall} mm, down to {thinnest} mm": (
        "Bei {size} mm Druckgröße hat {share} % der Oberfläche Wände unter {wall} mm, bis hinab zu {thinnest} mm"
    ),
    "Could not restore: {what}": "Nicht wiederhergestellt: {what}",
    "Panel Settings": "Panel-Einstellungen",
    "Insert this result beside what is there. It is generated again if its files are gone": (
        "Dieses Ergebnis neben dem einfügen, was da ist. Es wird neu erzeugt, wenn seine Dateien fehlen"
    ),
    "Regenerate": "Erneuern",
    "Remove from History": "Aus dem Verlauf entfernen",
    "Restore Settings": "Einstellungen wiederherstellen",
    "Retexture": "Neu texturieren",
    "Select a mesh with faces": "Ein Mesh mit Flächen auswählen",
    "Load the images and settings of the active object into the panel": (
        "Die Bilder und Einstellungen des aktiven Objekts in das Panel laden"
    ),
    "Remove this result from the history. Objects in the scene are kept, and the result can be put back": (
        "Dieses Ergebnis aus dem Verlauf entfernen. Objekte in der Szene bleiben, und das Ergebnis "
        "kann zurückgelegt werden"
    ),
    "Use the images and settings in the panel": "Die Bilder und Einstellungen im Panel verwenden",
    "Use the object's own images and settings, with a new seed": (
        "Die Bilder und Einstellungen des Objekts mit einem neuen Startwert verwenden"
    ),
    "Select an object made with Espalier": "Ein mit Espalier erzeugtes Objekt auswählen",
    # the first run
    "Installing the backend. You can keep working.": (
        "Das Backend wird installiert. Man kann währenddessen weiterarbeiten."
    ),
    "This checkout has no environment for the backend. Run scripts/dev.py setup to create it.": (
        "Diesem Checkout fehlt die Umgebung für das Backend. scripts/dev.py setup legt sie an."
    ),
    "One step left: install the backend, a separate program that does the computing.": (
        "Noch ein Schritt: das Backend installieren, ein eigenes Programm, das die Berechnungen ausführt."
    ),
    "Install the Backend": "Backend installieren",
    "Install": "Installieren",
    "Update": "Aktualisieren",
    "Repair": "Reparieren",
    "Resume": "Fortsetzen",
    "Install the backend, the program that does the computing, in the background": (
        "Das Backend, das Programm für die Berechnungen, im Hintergrund installieren"
    ),
    "Stop the installation. Downloaded data is kept, so that it can be resumed later": (
        "Die Installation anhalten. Heruntergeladene Daten bleiben erhalten, sodass sie sich später fortsetzen lässt"
    ),
    "Stop this operation. Downloaded data is kept, so that a download can be resumed later": (
        "Diesen Vorgang anhalten. Heruntergeladene Daten bleiben erhalten, sodass sich ein Download später "
        "fortsetzen lässt"
    ),
    "Download": "Herunterladen",
    "Download this model and the models it needs. Size and license are shown first": (
        "Dieses Modell und die Modelle, die es braucht, herunterladen. Größe und Lizenz werden zuerst angezeigt"
    ),
    "{name} is a demonstration model. It knows a dozen kinds of objects, such as chairs and houses.": (
        "{name} ist ein Demonstrationsmodell. Es kennt ein Dutzend Arten von Objekten, etwa Stühle und Häuser."
    ),
    "Hide Notice": "Hinweis ausblenden",
    "Hide this notice. The preferences can show it again": (
        "Diesen Hinweis ausblenden. Die Einstellungen können ihn wieder zeigen"
    ),
    "Notice of the Demonstration Model": "Hinweis auf das Demonstrationsmodell",
    "Say in the panel that the bundled model is a demonstration, and offer to download TRELLIS": (
        "Im Panel sagen, dass das mitgelieferte Modell zur Demonstration dient, und den Download von TRELLIS anbieten"
    ),
    "Download TRELLIS ({size})...": "TRELLIS herunterladen ({size}) ...",
    "Turn on Allow Online Access in Preferences > System": (
        "In Einstellungen > System den Online-Zugriff erlauben (Allow Online Access)"
    ),
    "Blender was started in offline mode. Start it without --offline-mode": (
        "Blender wurde im Offline-Modus gestartet. Ohne --offline-mode starten"
    ),
    "The backend is being installed": "Das Backend wird gerade installiert",
    "The backend is being installed or removed": "Das Backend wird gerade installiert oder entfernt",
    # the computer, and how long it takes
    "About {time} for an object": "Etwa {time} für ein Objekt",
    "{model}, default steps": "{model}, Vorgabe der Schritte",
    "{model}, {n} steps": "{model}, {n} Schritte",
    "{time} for an object ({how}), measured here": "{time} für ein Objekt ({how}), hier gemessen",
    "The first object measures how long one takes on this machine": (
        "Das erste Objekt misst, wie lange eines auf diesem Rechner braucht"
    ),
    "Network: {way}.": "Netzwerk: {way}.",
    "This computer: {what}.": "Dieser Rechner: {what}.",
    "processor with {n} cores": "Prozessor mit {n} Kernen",
    "processor with {n} cores, {memory} GB of memory, no graphics card that can be used": (
        "Prozessor mit {n} Kernen, {memory} GB Speicher, keine verwendbare Grafikkarte"
    ),
    "TRELLIS fits this computer.": "TRELLIS passt auf diesen Rechner.",
    "TRELLIS fits this computer if Low Memory is turned on in the Advanced panel.": (
        "TRELLIS passt auf diesen Rechner, wenn im Panel „Erweitert“ „Wenig Speicher“ eingeschaltet ist."
    ),
    "The demonstration model fits this computer. TRELLIS takes minutes for each object without a graphics card.": (
        "Auf diesen Rechner passt das Demonstrationsmodell. TRELLIS braucht ohne Grafikkarte Minuten für jedes Objekt."
    ),
    "The demonstration model fits this computer. TRELLIS needs more memory than there is.": (
        "Auf diesen Rechner passt das Demonstrationsmodell. TRELLIS braucht mehr Speicher, als da ist."
    ),
    # the preferences, and what the installation and a job say
    "Python 3.11 with torch that runs the backend instead of the installed environment. If empty: the one in "
    "ESPALIER_PYTHON, else the installed environment, else that of the checkout": (
        "Python 3.11 mit torch, das anstelle der installierten Umgebung das Backend ausführt. Wenn leer: das in "
        "ESPALIER_PYTHON, sonst die installierte Umgebung, sonst die des Checkouts"
    ),
    "Folder with torch's wheels, for an installation without a network. It must also hold uv's archive of Python "
    "3.11, unless a Python 3.11 is set": (
        "Ordner mit den Wheels von torch, für eine Installation ohne Netz. Er muss auch uvs Archiv von Python "
        "3.11 enthalten, wenn kein Python 3.11 angegeben ist"
    ),
    "A wheel does not match its recorded hash.": "Ein Wheel passt nicht zu seiner hinterlegten Prüfsumme.",
    "Accept and Download": "Annehmen und herunterladen",
    "Address of the package index for torch, such as a mirror. If empty: https://pypi.org/simple, and torch's "
    "own index for builds that are not there": (
        "Adresse des Paketverzeichnisses für torch, etwa eines Spiegelservers. Wenn leer: "
        "https://pypi.org/simple und für Builds, die dort fehlen, das Verzeichnis von torch"
    ),
    "Backend": "Backend",
    "Backend Python": "Python des Backends",
    "Check this model's files for damage": "Die Dateien dieses Modells auf Schäden prüfen",
    "Delete": "Löschen",
    "Remove the backend's environment and its downloads. Models are kept": (
        "Die Umgebung des Backends und ihre Downloads entfernen. Modelle bleiben erhalten"
    ),
    "Delete this model's files": "Die Dateien dieses Modells löschen",
    "Downloading torch": "torch wird heruntergeladen",
    "Stop the backend to free all of its memory. The next job starts it again": (
        "Das Backend beenden und seinen ganzen Speicher freigeben. Der nächste Auftrag startet es wieder"
    ),
    "Failed: {why}": "Fehlgeschlagen: {why}",
    "Wheels Folder": "Wheels-Ordner",
    "Torch Build": "Torch-Variante",
    "Which build of torch is installed. A change takes effect with the next installation or repair": (
        "Welche Variante von torch installiert wird. Eine Änderung gilt ab der nächsten Installation oder Reparatur"
    ),
    "The best tested build for this computer": "Die beste erprobte Variante für diesen Rechner",
    "NVIDIA (CUDA 13.0)": "NVIDIA (CUDA 13.0)",
    "Needs driver 580 and at least a GTX 16 or RTX 20": "Braucht Treiber 580 und mindestens eine GTX 16 oder RTX 20",
    "NVIDIA (CUDA 12.6)": "NVIDIA (CUDA 12.6)",
    "Needs driver 525 (Windows: 528), and no RTX 50": "Braucht Treiber 525 (Windows: 528) und keine RTX 50",
    "AMD (ROCm 7.2, untested)": "AMD (ROCm 7.2, nicht erprobt)",
    "Linux only. It was never tried": "Nur Linux. Nie ausprobiert",
    "Intel (XPU, untested)": "Intel (XPU, nicht erprobt)",
    "It was never tried": "Nie ausprobiert",
    "Processor": "Prozessor",
    "Works on every computer with Linux or Windows": "Läuft auf jedem Rechner mit Linux oder Windows",
    "The downloaded Python 3.11 is not the one that uv knows.": (
        "Das heruntergeladene Python 3.11 ist nicht das, das uv kennt."
    ),
    "Install the Next Best": "Die nächstbeste installieren",
    "The download did not say which wheels it brought.": (
        "Der Download hat nicht gesagt, welche Wheels er gebracht hat."
    ),
    "Free Memory": "Speicher freigeben",
    "Free Memory After": "Speicher freigeben nach",
    "Free some disk space and try again.": "Speicherplatz schaffen und erneut versuchen.",
    "If another Blender is using the backend, close it and try again.": (
        "Falls ein anderes Blender das Backend verwendet, dieses schließen und erneut versuchen."
    ),
    "Free some disk space and try again. Downloaded data is kept.": (
        "Speicherplatz schaffen und erneut versuchen. Heruntergeladene Daten bleiben erhalten."
    ),
    "Preparing Python 3.11": "Python 3.11 wird vorbereitet",
    "Install Microsoft's Visual C++ Redistributable: https://aka.ms/vs/17/release/vc_redist.x64.exe": (
        "Microsofts Visual C++ Redistributable installieren: https://aka.ms/vs/17/release/vc_redist.x64.exe"
    ),
    "Reinstall the extension.": "Die Erweiterung neu installieren.",
    "Installing and downloading need online access, which is turned off in Blender": (
        "Installieren und Herunterladen brauchen Online-Zugriff, der in Blender ausgeschaltet ist"
    ),
    "Installing packages": "Pakete werden installiert",
    "Installing torch": "torch wird installiert",
    "License: {license}": "Lizenz: {license}",
    "Checking this computer": "Dieser Rechner wird geprüft",
    "Creating the environment": "Die Umgebung wird angelegt",
    "Minutes without a job after which the backend is stopped to free its memory. The next job starts it again, "
    "which takes a few seconds. 0 keeps it running": (
        "Minuten ohne Auftrag, nach denen das Backend beendet wird, um seinen Speicher freizugeben. Der nächste "
        "Auftrag startet es wieder, was einige Sekunden dauert. Bei 0 läuft es weiter"
    ),
    "Models": "Modelle",
    "Models Folder": "Modellordner",
    "Installer": "Installation",
    "Show the settings of the backend's installation, for mirrors, offline machines and other Pythons": (
        "Die Einstellungen der Backend-Installation zeigen: für Spiegelserver, Rechner ohne Netz und andere Pythons"
    ),
    "Now": "Jetzt",
    "Not installed.": "Nicht installiert.",
    "Nothing to download. Needs {disk} of disk space ({free} free) and about {minutes} min.": (
        "Nichts herunterzuladen. Braucht {disk} Speicherplatz ({free} frei) und etwa {minutes} min."
    ),
    "Package Index": "Paketverzeichnis",
    "Copy it there, or set Python 3.11 in the preferences.": (
        "Es dorthin kopieren oder Python 3.11 in den Einstellungen angeben."
    ),
    "Python 3.11": "Python 3.11",
    "Python 3.11 could not be downloaded.": "Python 3.11 konnte nicht heruntergeladen werden.",
    "Ready": "Bereit",
    "Ready ({device})": "Bereit ({device})",
    "CPU": "CPU",
    "Apple GPU": "Apple-GPU",
    "Remove": "Entfernen",
    "Removing": "Wird entfernt",
    "Install the backend to see the models": "Das Backend installieren, um die Modelle zu sehen",
    "Python 3.11 to create the backend's environment with. If empty: one is downloaded (30 MB)": (
        "Python 3.11, mit dem die Umgebung des Backends angelegt wird. Wenn leer: eines wird heruntergeladen (30 MB)"
    ),
    "The backend is not running": "Das Backend läuft nicht",
    "The backend's environment cannot be started.": "Die Umgebung des Backends lässt sich nicht starten.",
    "The Python it was created with is gone. Repair the backend.": (
        "Das Python, mit dem sie angelegt wurde, ist nicht mehr vorhanden. Das Backend reparieren."
    ),
    "The disk is full.": "Der Datenträger ist voll.",
    "The disk is full: {reason}.": "Der Datenträger ist voll: {reason}.",
    "The disk of the folder {folder} is full.": "Der Datenträger des Ordners {folder} ist voll.",
    "The folder {folder} is on a disk that can only be read.": (
        "Der Ordner {folder} liegt auf einem Datenträger, der nur gelesen werden kann."
    ),
    "The folder {folder} may not be written to.": "In den Ordner {folder} darf nicht geschrieben werden.",
    "The folder {folder} does not exist.": "Den Ordner {folder} gibt es nicht.",
    "The file {file} lies where a folder should be.": "Wo ein Ordner sein sollte, liegt die Datei {file}.",
    "The disk of the folder {folder} cannot be reached: {reason}.": (
        "Der Datenträger des Ordners {folder} ist nicht erreichbar: {reason}."
    ),
    "The file {file} is open in another program.": ("Die Datei {file} ist in einem anderen Programm geöffnet."),
    "A file could not be used: {reason}.": "Eine Datei konnte nicht verwendet werden: {reason}.",
    "Free some space and try again.": "Speicherplatz schaffen und erneut versuchen.",
    "Choose another folder, or make this one writable.": (
        "Einen anderen Ordner wählen oder diesen beschreibbar machen."
    ),
    "Create it, or choose another folder.": "Ihn anlegen oder einen anderen Ordner wählen.",
    "Choose another folder, or give that file another name.": (
        "Einen anderen Ordner wählen oder die Datei umbenennen."
    ),
    "Connect it and try again.": "Ihn verbinden und erneut versuchen.",
    "Close it there and try again.": "Sie dort schließen und erneut versuchen.",
    "Check the folder and its permissions.": "Den Ordner und seine Rechte prüfen.",
    "Free some space there, or choose another folder: Preferences > File Paths > Temporary Files.": (
        "Dort Platz schaffen oder einen anderen Ordner wählen: Einstellungen > Dateipfade > Temporäre Dateien."
    ),
    "Objects are made in this folder. Free some space there, or make it writable, and try again.": (
        "Hier werden Objekte erzeugt. Dort Platz schaffen oder ihn beschreibbar machen und erneut versuchen."
    ),
    "Free some space there, or save the .blend file in another folder.": (
        "Dort Platz schaffen oder die .blend-Datei in einem anderen Ordner speichern."
    ),
    "The image {name} is no longer in this file": "Das Bild {name} ist nicht mehr in dieser Datei",
    "The installation was interrupted.": "Die Installation wurde unterbrochen.",
    "This is a checkout. Its own environment runs the backend.": (
        "Dies ist ein Checkout. Seine eigene Umgebung führt das Backend aus."
    ),
    "This is a checkout. Run scripts/dev.py setup to create its environment": (
        "Dies ist ein Checkout. scripts/dev.py setup legt seine Umgebung an"
    ),
    "This version of the extension needs different packages.": "Diese Version der Erweiterung braucht andere Pakete.",
    "Testing the environment": "Die Umgebung wird getestet",
    "Compiling": "Wird kompiliert",
    "Unpacking uv": "uv wird entpackt",
    "Verify": "Prüfen",
    "Wait until all jobs have finished": "Warten, bis alle Aufträge fertig sind",
    "Wait until the current model operation has finished": (
        "Warten, bis der laufende Vorgang mit einem Modell fertig ist"
    ),
    "Folder for downloaded models. All versions of Blender share it, and it is kept when the extension is "
    "removed. If empty: a folder in the user's application data": (
        "Ordner für heruntergeladene Modelle. Alle Blender-Versionen teilen ihn, und er bleibt erhalten, wenn "
        "die Erweiterung entfernt wird. Wenn leer: ein Ordner in den Anwendungsdaten des Benutzers"
    ),
    "bundled": "mitgeliefert",
    "damaged: download it again": "beschädigt: erneut herunterladen",
    "downloaded": "heruntergeladen",
    "the image {name}": "das Bild {name}",
    "the mesh already has the maximum number of UV maps": "das Mesh hat bereits die Höchstzahl an UV-Maps",
    "it does not say what images it was made from": "es sagt nicht, aus welchen Bildern es gemacht wurde",
    "what it says of its images are no paths": "was es über seine Bilder sagt, sind keine Pfade",
    "What the object says of its cameras cannot be read": "Was das Objekt über seine Kameras sagt, ist nicht lesbar",
    "its size is not a length": "seine Größe ist keine Länge",
    "the mesh has changed since the job was started": "das Mesh hat sich seit dem Start des Auftrags geändert",
    "torch cannot be loaded: a Windows library is missing.": (
        "torch lässt sich nicht laden: Eine Windows-Bibliothek fehlt."
    ),
    "torch did not report a device.": "torch hat kein Gerät gemeldet.",
    "your own": "eigenes Modell",
    "{download} to download. Needs {disk} of disk space ({free} free) and about {minutes} min at 5 MB/s.": (
        "{download} herunterzuladen. Braucht {disk} Speicherplatz ({free} frei) und etwa {minutes} min bei 5 MB/s."
    ),
    "{free} free in {folder}": "{free} frei in {folder}",
    "{name} has no faces": "{name} hat keine Flächen",
    "{name} has no extent": "{name} hat keine Ausdehnung",
    "{box} does not enclose any part of {name}": "{box} umschließt keinen Teil von {name}",
    "{name} was made anew in {n} boxes already, and no more can be remembered": (
        "{name} wurde schon in {n} Quadern neu erzeugt, mehr kann es sich nicht merken"
    ),
    "{name} was made by an earlier version. Regenerate it first": (
        "{name} stammt von einer früheren Version. Bitte zuerst neu erzeugen"
    ),
    "what was made anew in boxes": "was in Quadern neu erzeugt wurde",
    "what it says of its guide is no guide": "was es über seine Formvorlage sagt, ist keine",
    "what it says of its boxes is no list of boxes": "was es über seine Quader sagt, ist keine Liste von Quadern",
    "{name} has no pixels. Its file may have been moved": (
        "{name} hat keine Pixel. Die Datei wurde vielleicht verschoben"
    ),
    "{needed} to download, {free} free in {folder}": "{needed} herunterzuladen, {free} frei in {folder}",
    "{n} faces keep other materials.": "{n} Flächen behalten andere Materialien.",
    "All faces have the new material. The others are still in their slots.": (
        "Alle Flächen haben das neue Material. Die anderen sind noch in ihren Slots."
    ),
    "Not kept: {what}. Undo brings them back.": "Nicht behalten: {what}. Rückgängig bringt sie zurück.",
    "shape keys": "Formschlüssel",
    "more UV maps": "weitere UV-Maps",
    "color attributes": "Farbattribute",
    "The vertex groups were kept, but {n} % of the surface is far from the old one. Check them.": (
        "Die Vertexgruppen wurden behalten, aber {n} % der Oberfläche liegen weit von der alten entfernt. Bitte prüfen."
    ),
    "The weights of its vertex groups could not be kept: the old mesh had no faces.": (
        "Die Gewichte der Vertexgruppen konnten nicht behalten werden: Das alte Mesh hatte keine Flächen."
    ),
    "The weights of its vertex groups could not be kept: {reason}": (
        "Die Gewichte der Vertexgruppen konnten nicht behalten werden: {reason}"
    ),
    "{n} faces were split along the seams of the texture.": "{n} Flächen wurden entlang der Nähte der Textur geteilt.",
    "The marked seams are now those of the new UVs; Undo brings yours back.": (
        "Die markierten Nähte sind jetzt die der neuen UVs; Rückgängig bringt deine zurück."
    ),
    "{present} of {size} downloaded": "{present} von {size} heruntergeladen",
}
