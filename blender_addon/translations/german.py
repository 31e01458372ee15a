"""German. Blender's own words where it has them."""

from __future__ import annotations

TEXTS = {
    # the panel
    "Object": "Objekt",
    "Advanced": "Erweitert",
    "Presets": "Voreinstellungen",
    "Drop images of one object": "Bilder eines Objekts",
    "onto the viewport": "auf die Ansicht ziehen",
    "{n} views of one object": "{n} Ansichten eines Objekts",
    "Add Images...": "Bilder hinzufügen ...",
    "Choose Another Image...": "Anderes Bild wählen ...",
    # images
    "Add Images to Espalier": "Bilder zu Espalier hinzufügen",
    "Choose reference images of one object: one picture, or several views": (
        "Referenzbilder eines Objekts wählen: ein Bild oder mehrere Ansichten"
    ),
    "Replace": "Ersetzen",
    "Take the images away that are on the list": "Die Bilder entfernen, die auf der Liste stehen",
    "Add Image of This File": "Bild dieser Datei hinzufügen",
    "Choose one of the images of this .blend: packed, generated, painted or pasted ones too": (
        "Eines der Bilder dieser .blend wählen, auch ein gepacktes, erzeugtes, bemaltes oder eingefügtes"
    ),
    "Image": "Bild",
    "An image of this .blend": "Ein Bild dieser .blend",
    "An image of this .blend, in place of a file": "Ein Bild dieser .blend anstelle einer Datei",
    "There are no images in this file": "In dieser Datei gibt es keine Bilder",
    "Add Render Result": "Render-Ergebnis hinzufügen",
    "Take the picture that was rendered last, as it is now": "Das zuletzt gerenderte Bild nehmen, wie es jetzt ist",
    "Nothing was rendered yet": "Es wurde noch nichts gerendert",
    "Wait until the render is finished": "Warten, bis das Rendern fertig ist",
    "Paste Image": "Bild einfügen",
    "Take the image on the clipboard": "Das Bild aus der Zwischenablage nehmen",
    "There is no image on the clipboard": "In der Zwischenablage ist kein Bild",
    "There is no image on the clipboard, or the system does not hand it to Blender, as with X11": (
        "In der Zwischenablage ist kein Bild, oder das System gibt es Blender nicht, wie bei X11"
    ),
    "Remove Image": "Bild entfernen",
    "Take this image off the list; the image itself stays": "Dieses Bild von der Liste nehmen; das Bild selbst bleibt",
    "Move Image": "Bild verschieben",
    "Move this image on the list. The first one gives the object its name": (
        "Dieses Bild auf der Liste verschieben. Das erste gibt dem Objekt seinen Namen"
    ),
    "Path": "Pfad",
    "The image file": "Die Bilddatei",
    "images": "Bilder",
    # model and quality
    "Model": "Modell",
    "The model that makes the object: its name, or the path of its folder": (
        "Das Modell, das das Objekt macht: sein Name oder der Pfad seines Ordners"
    ),
    "The model that makes the object. More can be downloaded in the preferences": (
        "Das Modell, das das Objekt macht. Weitere lassen sich in den Einstellungen herunterladen"
    ),
    "Quality": "Qualität",
    "In how many steps the object is made: fewer are quicker, more are better": (
        "In wie vielen Schritten das Objekt entsteht: wenige sind schneller, viele besser"
    ),
    "Mini (Demonstration)": "Mini (Demonstration)",
    "{n} Step": "{n} Schritt",
    "{n} Steps": "{n} Schritte",
    "Its Own": "Eigene",
    "Distilled to few steps: quick": "Auf wenige Schritte destilliert: schnell",
    "All the steps that it was made for": "Alle Schritte, für die es gemacht ist",
    "The number of steps that is set below Advanced": "Die unter Erweitert eingestellte Zahl der Schritte",
    "Choose Steps": "Schritte wählen",
    "Choose the number of sampling steps; otherwise there are as many as the model was made for": (
        "Die Zahl der Sampling-Schritte wählen; sonst sind es so viele, wie für das Modell gedacht"
    ),
    "Steps": "Schritte",
    "Sampling steps for the shape, and as many for the detail: more take longer": (
        "Sampling-Schritte für die Form und ebenso viele für die Einzelheiten: mehr dauern länger"
    ),
    "Choose Guidance": "Führung wählen",
    "Choose how strongly the images guide the object; otherwise the model's own value is taken": (
        "Wählen, wie stark die Bilder das Objekt bestimmen; sonst gilt der Wert des Modells"
    ),
    "Guidance": "Führung",
    "How strongly the images guide the object": "Wie stark die Bilder das Objekt bestimmen",
    "Views": "Ansichten",
    "How several images act together": "Wie mehrere Bilder zusammenwirken",
    "All at Once": "Alle zugleich",
    "All images act in every step: best with few steps": (
        "Alle Bilder wirken in jedem Schritt: am besten bei wenigen Schritten"
    ),
    "In Turns": "Abwechselnd",
    "Each step looks at one of the images: quicker, for many steps": (
        "Jeder Schritt sieht eines der Bilder an: schneller, für viele Schritte"
    ),
    # seed and variants
    "Seed": "Startwert",
    "Another seed gives another object from the same images; the same seed gives the same one": (
        "Ein anderer Startwert gibt aus denselben Bildern ein anderes Objekt, derselbe dasselbe"
    ),
    "Lock Seed": "Startwert festhalten",
    "Keep this seed. Otherwise each press of Generate 3D takes a new one": (
        "Diesen Startwert behalten. Sonst nimmt jeder Druck auf 3D erzeugen einen neuen"
    ),
    "New Seed": "Neuer Startwert",
    "Roll the dice for a new seed": "Einen neuen Startwert würfeln",
    "Variants": "Varianten",
    "How many objects to make, side by side, each with a seed of its own": (
        "Wie viele Objekte nebeneinander entstehen, jedes mit eigenem Startwert"
    ),
    # the object
    "Where": "Wo",
    "Where the object is put": "Wohin das Objekt gestellt wird",
    "3D Cursor": "3D-Cursor",
    "At the 3D cursor": "Am 3D-Cursor",
    "Ground": "Boden",
    "On what lies below the 3D cursor, or at height zero": (
        "Auf dem, was unter dem 3D-Cursor liegt, oder auf Höhe null"
    ),
    "World Origin": "Weltursprung",
    "At the origin of the world": "Am Ursprung der Welt",
    "Active Object": "Aktives Objekt",
    "At the place of the active object, and as large": "An der Stelle des aktiven Objekts und so groß wie dieses",
    "Size": "Größe",
    "Length of the object's longest side": "Länge der längsten Seite des Objekts",
    "Faces": "Flächen",
    "How many triangles the finished mesh may have": "Wie viele Dreiecke das fertige Mesh haben darf",
    "Texture": "Textur",
    "Width and height of the texture, in pixels": "Breite und Höhe der Textur in Pixeln",
    "Texture Source": "Texturquelle",
    "Where the colours of the texture come from": "Woher die Farben der Textur kommen",
    "Vertex Colors": "Vertexfarben",
    "The colours of the decoded mesh's vertices: every model has them": (
        "Die Farben der Vertices des dekodierten Mesh: die hat jedes Modell"
    ),
    "Gaussians": "Gauß-Funktionen",
    "The 3-D Gaussians around the surface: sharper, where the model has them": (
        "Die 3D-Gauß-Funktionen um die Oberfläche: schärfer, wo das Modell sie hat"
    ),
    "Normal Map": "Normal-Map",
    "Bake the detail of the decoded mesh, so that few faces look like many": (
        "Die Einzelheiten des dekodierten Mesh backen, so dass wenige Flächen wie viele aussehen"
    ),
    "Ambient Occlusion": "Umgebungsverdeckung",
    "Bake how open each place lies, as a map for game engines; it is in exported glTF files": (
        "Backen, wie offen jede Stelle liegt, als Textur für Spiele-Engines; in exportierten glTF-Dateien ist sie dabei"
    ),
    "Keep Raw": "Rohfassung behalten",
    "Keep the mesh as it was decoded, with its vertex colours, as a second, hidden object": (
        "Das Mesh, wie es dekodiert wurde, mit seinen Vertexfarben als zweites, verborgenes Objekt behalten"
    ),
    "Low Memory": "Wenig Speicher",
    "Hold each network in memory only while it is used: slower, and the same result": (
        "Jedes Netz nur im Speicher halten, solange es gebraucht wird: langsamer, mit demselben Ergebnis"
    ),
    "Retry For": "Neu versuchen",
    "How many seconds to try again when a shape cannot be that of the image; 0: never": (
        "Wie viele Sekunden es noch einmal versucht wird, wenn eine Form nicht die des Bildes sein kann; 0: nie"
    ),
    "Show Texture": "Textur zeigen",
    "Show textures in this viewport's Solid shading, or materials' plain colors again": (
        "In der Solid-Ansicht dieses Fensters Texturen zeigen oder wieder die Farben der Materialien"
    ),
    # the button
    "Generate 3D": "3D erzeugen",
    "Make a textured mesh of what the images show. Work can go on meanwhile": (
        "Aus dem, was die Bilder zeigen, ein texturiertes Mesh machen. Inzwischen kann man weiterarbeiten"
    ),
    "Install the backend first": "Zuerst das Backend installieren",
    "Add an image first": "Zuerst ein Bild hinzufügen",
    "The model {name} is not installed": "Das Modell {name} ist nicht installiert",
    "There is no active object whose place could be taken": (
        "Es gibt kein aktives Objekt, an dessen Stelle das neue treten könnte"
    ),
    # jobs
    "{n} objects to make": "{n} Objekte in Arbeit",
    "Loading the model": "Modell laden",
    "Preparing the image": "Bild vorbereiten",
    "Looking at the image": "Bild ansehen",
    "Shape": "Form",
    "Detail": "Einzelheiten",
    "Surface": "Oberfläche",
    "Starting": "Beginnt",
    "Starting the backend": "Das Backend startet",
    "Waiting": "Wartet",
    "Cancelling": "Wird abgebrochen",
    "{time} left": "noch {time}",
    "Cancel": "Abbrechen",
    "Stop making this object": "Dieses Objekt nicht weiter machen",
    "Cancel All": "Alle abbrechen",
    "Stop making all these objects": "Alle diese Objekte nicht weiter machen",
    "Try Again": "Noch einmal",
    "Make this object again": "Dieses Objekt noch einmal machen",
    "Try Again with Less Memory": "Mit weniger Speicher versuchen",
    "Try Another Seed": "Anderen Startwert versuchen",
    "Run Again": "Noch einmal ausführen",
    "Blender was closed before it was done": "Blender wurde geschlossen, bevor es fertig war",
    "Insert": "Einfügen",
    "Made in a file or scene that is no longer open": ("In einer Datei oder Szene gemacht, die nicht mehr offen ist"),
    "Waits until {what} is finished": "Wartet, bis {what} beendet ist",
    "Dismiss": "Verwerfen",
    "Take this off the list": "Von der Liste nehmen",
    "Open Log": "Protokoll öffnen",
    "Open Preferences": "Einstellungen öffnen",
    "Open Espalier's preferences": "Die Einstellungen von Espalier öffnen",
    "Add Espalier Preset": "Espalier-Voreinstellung hinzufügen",
    "Save these settings under a name, or delete those of a name": (
        "Diese Einstellungen unter einem Namen sichern oder die eines Namens löschen"
    ),
    # selected objects and the history
    "History": "Verlauf",
    "Regenerate as in Panel": "Neu erzeugen wie im Panel",
    "Regenerate with New Seed": "Neu erzeugen mit neuem Startwert",
    "Selected Object": "Ausgewähltes Objekt",
    "What is made will be listed here": "Was entsteht, wird hier aufgelistet",
    "Count": "Anzahl",
    "How": "Wie",
    "How many variants to make": "Wie viele Varianten entstehen",
    "Insert Again": "Noch einmal einfügen",
    "Keep the shape of the selected objects and paint them after the images in the panel": (
        "Die Form der ausgewählten Objekte behalten und sie nach den Bildern im Panel bemalen"
    ),
    "Leave Edit Mode first": "Zuerst den Edit-Modus verlassen",
    "Made by Espalier, seed {seed}": "Von Espalier gemacht, Startwert {seed}",
    "Make the selected objects again, in place: transform, parent, modifiers and name stay": (
        "Die ausgewählten Objekte am Ort neu machen: Transformation, Elternobjekt, Modifikatoren und Name bleiben"
    ),
    "Make variants of the selected object, with other seeds, in a row beside it": (
        "Varianten des ausgewählten Objekts mit anderen Startwerten in einer Reihe daneben machen"
    ),
    "Mark as Asset": "Als Asset markieren",
    "Mark the selected objects as assets, with a preview, for the asset browser": (
        "Die ausgewählten Objekte mit Vorschaubild als Assets für den Asset-Browser markieren"
    ),
    "Not restored: {what}": "Nicht wiederhergestellt: {what}",
    "Panel's Settings": "Einstellungen des Panels",
    "Put this result of the past at the 3D cursor. It is made again if its files are no longer there": (
        "Dieses frühere Ergebnis an den 3D-Cursor stellen. Es wird neu gemacht, wenn seine Dateien nicht mehr da sind"
    ),
    "Regenerate": "Neu erzeugen",
    "Remove from History": "Aus dem Verlauf entfernen",
    "Restore Settings": "Einstellungen wiederherstellen",
    "Retexture": "Neu texturieren",
    "Select a mesh with faces": "Ein Mesh mit Flächen auswählen",
    "Show in the panel the images and settings that the active object was made with": (
        "Im Panel die Bilder und Einstellungen zeigen, mit denen das aktive Objekt gemacht wurde"
    ),
    "Take this off the history. Objects in the scene stay": "Aus dem Verlauf nehmen. Objekte in der Szene bleiben",
    "With the images and settings that the panel shows": "Mit den Bildern und Einstellungen, die das Panel zeigt",
    "With the settings and images that the object was made with, and another seed": (
        "Mit den Einstellungen und Bildern, mit denen das Objekt gemacht wurde, und anderem Startwert"
    ),
    "Select an object that Espalier made": "Ein Objekt auswählen, das Espalier gemacht hat",
    # the first run
    "Installing the backend. Work can go on meanwhile.": (
        "Das Backend wird installiert. Inzwischen kann man weiterarbeiten."
    ),
    "No environment runs the backend: scripts/dev.py setup makes one in this checkout.": (
        "Keine Umgebung führt das Backend aus: scripts/dev.py setup macht eine in diesem Checkout."
    ),
    "One step to go: Espalier computes with a program of its own, which is installed once.": (
        "Noch ein Schritt: Espalier rechnet mit einem eigenen Programm, das einmal installiert wird."
    ),
    "Install the Backend": "Das Backend installieren",
    "Install": "Installieren",
    "Repair": "Reparieren",
    "Go On": "Fortsetzen",
    "Install what Espalier computes with, into a folder of its own. Work can go on meanwhile": (
        "Das installieren, womit Espalier rechnet, in einen eigenen Ordner. Inzwischen kann man weiterarbeiten"
    ),
    "Stop installing. What has arrived is kept, and installing again goes on from there": (
        "Die Installation anhalten. Was angekommen ist, bleibt, und eine neue Installation fährt dort fort"
    ),
    "Stop this. What has arrived is kept, and downloading again goes on from there": (
        "Anhalten. Was angekommen ist, bleibt, und ein neuer Download fährt dort fort"
    ),
    "Download": "Herunterladen",
    "Download this model, and what it needs, after showing size and licence": (
        "Dieses Modell und was es braucht herunterladen, nachdem Größe und Lizenz gezeigt wurden"
    ),
    "{name} is a demonstration model: it knows a dozen kinds of things, such as chairs and houses.": (
        "{name} ist ein Vorführmodell: es kennt ein Dutzend Arten von Dingen, etwa Stühle und Häuser."
    ),
    "Get TRELLIS ({size})...": "TRELLIS holen ({size}) ...",
    "Turn on Allow Online Access in Preferences > System": "In Einstellungen > System den Online-Zugriff erlauben",
    "Blender was started in offline mode: start it without --offline-mode": (
        "Blender wurde offline gestartet: ohne --offline-mode starten"
    ),
    "The backend is being installed": "Das Backend wird gerade installiert",
    # the preferences, and what the installation and a job say
    "A Python 3.11 with torch that runs the backend in place of the installed environment. Empty: the "
    "one in ESPALIER_PYTHON, else the installed one, else that of the checkout": (
        "Ein Python 3.11 mit torch, das anstelle der installierten Umgebung das Backend ausführt. Leer: das "
        "in ESPALIER_PYTHON, sonst das installierte, sonst das des Checkouts"
    ),
    "A folder with torch's wheels, and uv's archive of Python 3.11 unless one is given, to install without a network": (
        "Ein Ordner mit den Wheels von torch und, wenn keines angegeben ist, uvs Archiv von Python 3.11, um "
        "ohne Netz zu installieren"
    ),
    "A wheel is not the one that was locked.": "Ein Wheel ist nicht das, das festgeschrieben wurde.",
    "Accept and Download": "Annehmen und herunterladen",
    "Address of the package index that torch comes from, for mirrors. Empty: https://pypi.org/simple, "
    "and for builds that are not there torch's own": (
        "Adresse des Paketverzeichnisses, aus dem torch kommt, für Spiegelserver. Leer: "
        "https://pypi.org/simple, und für Builds, die dort fehlen, das von torch selbst"
    ),
    "Backend": "Backend",
    "Backend Python": "Python des Backends",
    "Compare this model's files with what was downloaded": (
        "Die Dateien dieses Modells mit dem vergleichen, was heruntergeladen wurde"
    ),
    "Delete": "Löschen",
    "Delete the backend's environment and what was downloaded for it. Models are kept": (
        "Die Umgebung des Backends löschen und was für sie heruntergeladen wurde. Modelle bleiben"
    ),
    "Delete this model's files": "Die Dateien dieses Modells löschen",
    "Downloading torch": "torch wird heruntergeladen",
    "End the backend, which gives all its memory back. The next job starts it again": (
        "Das Backend beenden, wodurch sein ganzer Speicher frei wird. Der nächste Auftrag startet es wieder"
    ),
    "Failed: {why}": "Fehlgeschlagen: {why}",
    "Folder of Wheels": "Ordner mit Wheels",
    "Free Memory": "Speicher freigeben",
    "Free Memory After": "Speicher freigeben nach",
    "Free some space and try again.": "Platz schaffen und noch einmal versuchen.",
    "Free some space. What has arrived is kept.": "Platz schaffen. Was angekommen ist, bleibt.",
    "Getting Python 3.11": "Python 3.11 wird geholt",
    "Install Microsoft's Visual C++ Redistributable: https://aka.ms/vs/17/release/vc_redist.x64.exe": (
        "Microsofts Visual C++ Redistributable installieren: https://aka.ms/vs/17/release/vc_redist.x64.exe"
    ),
    "Install the extension again.": "Die Erweiterung neu installieren.",
    "Installing and downloading need the network, which Blender does not allow now": (
        "Installieren und Herunterladen brauchen das Netz, das Blender gerade nicht erlaubt"
    ),
    "Installing the packages": "Die Pakete werden installiert",
    "Installing torch": "torch wird installiert",
    "It is being worked on": "Daran wird gerade gearbeitet",
    "Licence: {licence}": "Lizenz: {licence}",
    "Looking at this machine": "Dieser Rechner wird angesehen",
    "Made before Blender was closed, in the place of {name}": (
        "Gemacht, bevor Blender geschlossen wurde, an Stelle von {name}"
    ),
    "Making the environment": "Die Umgebung wird angelegt",
    "Minutes without a job after which the backend ends, which gives its memory back. The next job "
    "starts it again, which takes some seconds. 0: never": (
        "Nach so vielen Minuten ohne Auftrag endet das Backend, wodurch sein Speicher frei wird. Der nächste "
        "Auftrag startet es wieder, was einige Sekunden dauert. 0: nie"
    ),
    "Models": "Modelle",
    "Models Folder": "Modellordner",
    "Now": "Jetzt",
    "Not installed.": "Nicht installiert.",
    "Nothing to download, {disk} of disk ({free} are free), about {minutes} min.": (
        "Nichts herunterzuladen, {disk} auf der Platte ({free} sind frei), etwa {minutes} min."
    ),
    "Package Index": "Paketverzeichnis",
    "Put it there, or choose a Python 3.11.": "Dorthin legen oder ein Python 3.11 wählen.",
    "Put this finished object into the scene: in its place if that is there, else at the 3D cursor": (
        "Dieses fertige Objekt in die Szene stellen: an seinen Platz, wenn es den gibt, sonst an den 3D-Cursor"
    ),
    "Python 3.11": "Python 3.11",
    "Python 3.11 could not be downloaded.": "Python 3.11 konnte nicht heruntergeladen werden.",
    "Ready": "Bereit",
    "Ready ({device})": "Bereit ({device})",
    "processor": "Prozessor",
    "Apple GPU": "Apple-GPU",
    "Remove": "Entfernen",
    "Shown when the backend is installed": "Wird gezeigt, wenn das Backend installiert ist",
    "The Python 3.11 that the backend's environment is made from. Empty: one is downloaded (30 MB)": (
        "Das Python 3.11, aus dem die Umgebung des Backends entsteht. Leer: eines wird heruntergeladen (30 MB)"
    ),
    "The backend is not running": "Das Backend läuft nicht",
    "The backend's environment cannot start.": "Die Umgebung des Backends lässt sich nicht starten.",
    "The disk is full.": "Die Platte ist voll.",
    "The image {name} is no longer in this file": "Das Bild {name} ist nicht mehr in dieser Datei",
    "The installation was interrupted.": "Die Installation wurde unterbrochen.",
    "This is a checkout: its own environment runs the backend.": (
        "Dies ist ein Checkout: seine eigene Umgebung führt das Backend aus."
    ),
    "This is a checkout: scripts/dev.py makes its environment": (
        "Dies ist ein Checkout: scripts/dev.py legt seine Umgebung an"
    ),
    "This version of the extension needs other packages.": ("Diese Version der Erweiterung braucht andere Pakete."),
    "Trying it": "Wird ausprobiert",
    "Compiling": "Wird übersetzt",
    "Unpacking uv": "uv wird entpackt",
    "Verify": "Prüfen",
    "Wait until the jobs are done": "Warten, bis die Aufträge fertig sind",
    "Wait until the models are free": "Warten, bis die Modelle frei sind",
    "Where models are downloaded to. All versions of Blender share it, and it stays when the extension "
    "is removed. Empty: a folder among the user's application data": (
        "Wohin Modelle heruntergeladen werden. Alle Blender-Versionen teilen den Ordner, und er bleibt, wenn "
        "die Erweiterung entfernt wird. Leer: ein Ordner in den Anwendungsdaten des Benutzers"
    ),
    "bundled": "mitgeliefert",
    "damaged: download it again": "beschädigt: neu herunterladen",
    "installed": "installiert",
    "partly downloaded": "teilweise heruntergeladen",
    "the image {name}": "das Bild {name}",
    "the mesh has as many UV maps as it can have": "das Mesh hat so viele UV-Maps, wie es haben kann",
    "the mesh was changed in the meantime": "das Mesh wurde inzwischen verändert",
    "torch cannot be loaded: a Windows library is missing.": (
        "torch lässt sich nicht laden: eine Windows-Bibliothek fehlt."
    ),
    "torch did not say what it runs on.": "torch hat nicht gesagt, worauf es läuft.",
    "your own": "eigenes",
    "{download} to download, {disk} of disk ({free} are free), about {minutes} min at 5 MB/s.": (
        "{download} herunterzuladen, {disk} auf der Platte ({free} sind frei), etwa {minutes} min bei 5 MB/s."
    ),
    "{free} are free in {folder}": "{free} sind frei in {folder}",
    "{name} has no faces": "{name} hat keine Flächen",
    "{name} has no pixels: its file may have been moved": (
        "{name} hat keine Pixel: seine Datei wurde vielleicht verschoben"
    ),
    "{needed} to download, {free} are free in {folder}": ("{needed} herunterzuladen, {free} sind frei in {folder}"),
    "{n} faces were cut where the seams of the texture run": (
        "{n} Flächen wurden zerschnitten, wo die Nähte der Textur verlaufen"
    ),
    "{present} of {size} downloaded": "{present} von {size} heruntergeladen",
}
