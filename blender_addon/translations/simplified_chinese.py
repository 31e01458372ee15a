"""Simplified Chinese. Blender's own words where it has them."""

from __future__ import annotations

TEXTS = {
    # the panel
    "Object": "物体",
    "Advanced": "高级",
    "Presets": "预设",
    "Drop images of one object": "将同一物体的图像",
    "onto the viewport": "拖放到视图中",
    "{n} views of one object": "同一物体的 {n} 个视角",
    "Add Images...": "添加图像...",
    "Choose Another Image...": "选择其他图像...",
    # images
    "Add Images to Espalier": "添加图像到 Espalier",
    "Add reference images of one object: a single image or several views": "添加同一物体的参考图像：单张图像或多个视角",
    "Replace": "替换",
    "Remove the images that are already in the list": "移除列表中已有的图像",
    "Add Image to Espalier": "将图像添加到 Espalier",
    "Add this image to the images of the object, as one more view": "把此图像作为另一个视角添加到物体的图像中",
    "Generate 3D from Image": "从图像生成 3D",
    "Generate 3D from Images...": "从图像生成 3D...",
    "Generate 3D (Install First)...": "生成 3D（需先安装）...",
    "Generate a textured mesh from this image alone. It takes the place of the images in the list": (
        "只用此图像生成带纹理的网格。它会取代列表中的图像"
    ),
    "Open an image in the image editor": "请在图像编辑器中打开图像",
    "Add Image from Blend File": "添加 Blend 文件中的图像",
    "Add an image of this blend-file, such as a packed, generated, painted or pasted one": (
        "添加此 Blend 文件中的图像，例如已打包、生成、绘制或粘贴的图像"
    ),
    "Image": "图像",
    "An image of this blend-file": "此 Blend 文件中的图像",
    "An image of this blend-file, used instead of a file on disk": "此 Blend 文件中的图像，用来代替磁盘上的文件",
    "There are no images in this blend-file": "此 Blend 文件中没有图像",
    "Add Render Result": "添加渲染结果",
    "Add the last render result as it is now": "添加最近一次渲染结果的当前画面",
    "Nothing has been rendered yet": "尚未渲染任何内容",
    "Wait until the render has finished": "请等待渲染完成",
    "Paste Image": "粘贴图像",
    "Add the image on the clipboard": "添加剪贴板中的图像",
    "There is no image on the clipboard": "剪贴板中没有图像",
    "There is no image on the clipboard, or the system does not pass it to Blender (as on X11)": (
        "剪贴板中没有图像，或系统不会将其传给 Blender（例如 X11）"
    ),
    "Remove Image": "移除图像",
    "Remove this image from the list. The image itself is kept": "从列表中移除此图像。图像本身会保留",
    "Move Image": "移动图像",
    "Move this image in the list. The first image gives the object its name": (
        "在列表中移动此图像。物体以第一张图像命名"
    ),
    "Path": "路径",
    "Path of the image file": "图像文件的路径",
    "Images": "图像",
    "The reference images of the object": "物体的参考图像",
    # cut-outs
    "Cut-Out": "抠图",
    "The object cut out of the image, edited by hand. It is used instead of the image": (
        "从图像中抠出并经手动编辑的物体。它代替该图像使用"
    ),
    "Point": "点",
    "Use the object at a point of the image. Otherwise the largest one is used": (
        "使用图像中某一点处的物体。否则使用最大的物体"
    ),
    "Point on the object, as fractions of the image's width and height from the top left": (
        "物体上的点，以从左上角起占图像宽度和高度的比例表示"
    ),
    "Edit Cut-Out": "编辑抠图",
    "Paint in the image editor what is used of this image: erase what does not belong to the object, or restore it": (
        "在图像编辑器中绘制此图像要使用的部分：擦除不属于物体的部分，或将其恢复"
    ),
    "{n} images of one object are enough": "一个物体最多 {n} 幅图像",
    "Show Cut-Outs": "显示抠图",
    "Cut the object out of each image that came with this file. A file that is only looked at starts nothing": (
        "从随此文件而来的每幅图像中抠出物体。仅仅查看文件不会启动任何东西"
    ),
    "Reset Cut-Out": "重置抠图",
    "Use the automatic cut-out again, of the largest object in the image": "重新使用自动抠图，即图像中最大的物体",
    "Pick Object": "选取物体",
    "Click on another object in this image. Without a click, the largest one is used": (
        "点击此图像中的另一个物体。不点击则使用最大的物体"
    ),
    "Click Object": "点击物体",
    "Wait for a click on an object in the image editor": "等待在图像编辑器中点击物体",
    "Click on the object. Esc: cancel": "请点击物体。Esc：取消",
    "Reset the cut-out first: it was edited by hand": "请先重置抠图：它已被手动编辑",
    "The cut-out is not there yet": "抠图尚未完成",
    "Edited by hand": "已手动编辑",
    "Looking for the object...": "正在寻找物体...",
    "Alpha Brush": "Alpha 笔刷",
    "Take the brush that erases from the cut-out, or the one that restores what was erased": (
        "使用擦除抠图的笔刷，或恢复已擦除部分的笔刷"
    ),
    "Erase": "擦除",
    "Restore": "恢复",
    # model and quality
    "Model": "模型",
    "Model that generates the object: its name or the path of its folder": "用来生成物体的模型：名称或其文件夹的路径",
    "Model that generates the object. More models can be downloaded in the preferences": (
        "用来生成物体的模型。可在偏好设置中下载更多模型"
    ),
    "Quality": "质量",
    "Number of sampling steps. Fewer steps are faster, more steps give better results": (
        "采样步数。步数越少越快，步数越多效果越好"
    ),
    "Mini (Demo)": "Mini（演示）",
    "{n} Step": "{n} 步",
    "{n} Steps": "{n} 步",
    "Distilled to a few steps: fast": "蒸馏为少数几步：速度快",
    "The model's full number of steps": "模型的完整步数",
    "Draft": "草稿",
    "Standard": "标准",
    "Best": "最佳",
    "Custom": "自定义",
    "Set the number of steps yourself, for the model that is not distilled if it is installed": (
        "自行设置步数；若已安装未蒸馏的模型，则使用该模型"
    ),
    "Makes colors alone: nothing is metal or see-through.": "只生成颜色：没有金属或透明部分。",
    "Makes colors, metal, roughness and see-through parts.": "生成颜色、金属、粗糙度和透明部分。",
    "The grid of its shapes has {n} cells a side.": "形状网格每边有 {n} 个单元。",
    "Its networks take {size}.": "其网络需要 {size}。",
    "There is no fast version of it yet: {steps}.": "尚无快速版本：{steps}。",
    "Resolutions: {list}.": "分辨率：{list}。",
    "It takes guides as they are, whatever the strength, and makes nothing anew in boxes.": (
        "无论强度多少都原样采用引导物，并且不能在框内重新生成。"
    ),
    "Finer shapes ({list}) are another download of {size}, in the preferences.": (
        "更精细的形状（{list}）需要在偏好设置中另行下载 {size}。"
    ),
    "{n} takes {full} of a graphics card's memory, with Low Memory {low}, as counted.": (
        "按计算，{n} 需要显存 {full}，启用“低内存”时为 {low}。"
    ),
    "There is no graphics card that can be used: an object takes very long.": (
        "没有可用的显卡：生成一个物体需要很长时间。"
    ),
    "This graphics card has {card}, too little for {n}: turn on Low Memory.": (
        "此显卡有 {card}，不足以使用 {n}：请启用“低内存”。"
    ),
    "This graphics card has {card}, too little for {n}: choose {m}.": "此显卡有 {card}，不足以使用 {n}：请选择 {m}。",
    "This graphics card has {card}, too little for {n}: choose {m}, with Low Memory.": (
        "此显卡有 {card}，不足以使用 {n}：请选择 {m}，并启用“低内存”。"
    ),
    "This graphics card has {card}, too little for this model: turn on Low Memory.": (
        "此显卡有 {card}，不足以使用此模型：请启用“低内存”。"
    ),
    "This graphics card has {card}, too little for this model: choose another one.": (
        "此显卡有 {card}，不足以使用此模型：请选择其他模型。"
    ),
    "Resolution": "分辨率",
    "How fine the shape is. Finer shapes take more memory and time": "形状的精细程度。越精细所需内存和时间越多",
    "Custom Resolution": "自定义分辨率",
    "Set how fine the shape is. Otherwise the model's default is used": "自行设置形状的精细程度。否则使用模型的默认值",
    "How fine the shape is: cells along each side of the grid that it is made on. Only models of TRELLIS.2 have a "
    "choice": "形状的精细程度：生成形状的网格每边的单元数。只有 TRELLIS.2 的模型可以选择",
    "This model takes the guide as it is: with a strength of 1, unless it is 0": (
        "此模型原样采用引导物：强度只要不为 0，就视为 1"
    ),
    "{name} was made by {model}, which makes nothing anew inside a box": (
        "{name} 由 {model} 生成，该模型不能在框内重新生成"
    ),
    "The model makes roughness and metal itself": "粗糙度和金属由模型自行生成",
    "Not measured yet on this machine": "尚未在此计算机上测量",
    "About {time} for an object, measured here": "每个物体约 {time}（本机实测）",
    "Custom Steps": "自定义步数",
    "Set the number of sampling steps. Otherwise the model's default is used": "自行设置采样步数。否则使用模型的默认值",
    "Steps": "步数",
    "Number of sampling steps, for the shape and again for the detail. More steps take longer": (
        "采样步数，形状和细节各用这么多步。步数越多耗时越长"
    ),
    "Custom Guidance": "自定义引导强度",
    "Set how strongly the images guide the object. Otherwise the model's default is used": (
        "自行设置图像对物体的引导强度。否则使用模型的默认值"
    ),
    "Guidance": "引导强度",
    "How strongly the images guide the object": "图像对物体的引导强度",
    "Background": "背景",
    "Whether the background of the images is removed": "是否移除图像的背景",
    "Automatic": "自动",
    "An image's own transparency is used. Other backgrounds are removed": "使用图像自带的透明度。其他背景会被移除",
    "Always": "总是",
    "Backgrounds are removed, also from images with transparency": "移除背景，带透明度的图像也不例外",
    "Never": "从不",
    "Images are used whole, for objects that already stand alone on black": (
        "使用整张图像，适用于物体已单独位于黑色背景上的情况"
    ),
    "Background removed.": "背景已移除。",
    "The object touches the edge of the image, so a part of it may be missing.": (
        "物体碰到了图像边缘，可能缺少一部分。"
    ),
    "No object stands out from the background.": "没有物体从背景中凸显出来。",
    "Views": "视角",
    "How several images are combined": "多张图像的组合方式",
    "All at Once": "同时使用",
    "Every step uses all images. Best with few steps": "每一步都使用全部图像。最适合步数较少的情况",
    "In Turn": "轮流使用",
    "Each step uses one of the images in turn. Faster, but needs many steps": (
        "每一步轮流使用其中一张图像。更快，但需要较多步数"
    ),
    # seed and variants
    "Seed": "随机种",
    "Random seed. The same seed gives the same object, a different seed gives a different one": (
        "随机种。相同的随机种得到相同的物体，不同的随机种得到不同的物体"
    ),
    "Lock Seed": "锁定随机种",
    "Keep this seed. Otherwise Generate 3D picks a new one each time": (
        "保留此随机种。否则每次“生成 3D”都会使用新的随机种"
    ),
    "New Seed": "新随机种",
    "Pick a new random seed": "随机选取新的随机种",
    "Variants": "变体",
    "Shape Strength": "形状强度",
    "How closely the object follows the guide, if there is one. 1 takes its voxels as they are, 0 ignores it": (
        "如果有引导物，物体跟随它的程度。1 表示原样采用其体素，0 表示忽略它"
    ),
    "Guide": "引导物",
    "Mesh whose shape the object follows and whose place it takes, such as a blockout. Its children belong to it": (
        "物体跟随其形状并占据其位置的网格，例如粗模。它的子级也包括在内"
    ),
    "Guide of the restored object": "所恢复物体的引导物",
    "Forget Guide": "忘记引导物",
    "Generate without the guide of the object whose settings were restored": "生成时不使用恢复了设置的物体的引导物",
    "Number of objects to generate side by side, each with its own seed": (
        "并排生成的物体数量，每个物体使用各自的随机种"
    ),
    # the object
    "Placement": "放置",
    "Where to place the object": "物体放置的位置",
    "Free Ground": "空地",
    "Beside what is there, where nothing is in the way, or at the 3D cursor if you have moved it": (
        "放在已有物体旁边的空处；若移动过 3D 游标，则放在游标处"
    ),
    "3D Cursor": "3D 游标",
    "At the 3D cursor": "在 3D 游标处",
    "Ground": "地面",
    "On the surface below the 3D cursor, or at height zero if there is none": (
        "在 3D 游标下方的表面上；若下方没有表面，则在高度零处"
    ),
    "World Origin": "世界原点",
    "At the origin of the world": "在世界原点处",
    "Active Object": "活动物体",
    "At the location of the active object, with the same size": "在活动物体的位置，大小与其相同",
    "Size": "尺寸",
    "Length of the object's longest side": "物体最长边的长度",
    "Faces": "面",
    "Maximum number of triangles in the finished mesh": "最终网格的三角面数量上限",
    "Maximum Error": "最大误差",
    "Custom Maximum Error": "自定义最大误差",
    "Largest distance of the finished mesh from the decoded one, in percent of its longest side": (
        "最终网格与解码网格之间的最大距离，以其最长边的百分比表示"
    ),
    "Use as few triangles as keep the mesh this close to the decoded one, however many that are": (
        "使用尽可能少的三角面，使网格与解码网格保持在此距离之内，无论数量多少"
    ),
    "Texture": "纹理",
    "Width and height of the texture in pixels": "纹理的宽度和高度（像素）",
    "Add Image Cameras": "添加图像摄像机",
    "Add the cameras that the images of the active object were taken with, with the images as their backgrounds": (
        "添加拍摄活动物体各图像所用的摄像机，并以图像为背景"
    ),
    "Select an object whose texture was painted from its images": "选择一个纹理由其图像绘制的物体",
    "Quads": "四边形",
    "Cover the surface with quads along its curvature instead of triangles. A quad counts as two triangles": (
        "沿曲率用四边形而非三角形覆盖表面。一个四边形计为两个三角形"
    ),
    "Levels of Detail": "细节层次",
    "Also make the mesh with 50, 25 and 12 percent of its faces, for the same texture, as hidden objects": (
        "另生成面数为 50%、25% 和 12% 的网格，使用同一纹理，作为隐藏物体"
    ),
    "Collision Hulls": "碰撞凸包",
    "Also make convex hulls for the collisions of game engines, as hidden objects": (
        "另生成用于游戏引擎碰撞的凸包，作为隐藏物体"
    ),
    "UDIM Tiles": "UDIM 图块",
    "Lay the texture out in four UDIM tiles, each half as wide. glTF, which has no tiles, gets it whole": (
        "将纹理分布到四个 UDIM 图块，每个宽度减半。glTF 没有图块，使用整张纹理"
    ),
    "{name} has other UDIM tiles than 1001, 1002, 1011 and 1012. Choose OBJ, FBX or USDZ": (
        "{name} 的 UDIM 图块不是 1001、1002、1011 和 1012。请选择 OBJ、FBX 或 USDZ"
    ),
    "{name} has no UDIM tiles, but other images of the object do. Choose OBJ, FBX or USDZ": (
        "{name} 没有 UDIM 图块，但物体的其他图像有。请选择 OBJ、FBX 或 USDZ"
    ),
    "{name} was painted on. Save it in the image editor first": ("{name} 已被绘制。请先在图像编辑器中保存"),
    "Texture Source": "纹理来源",
    "Where the colors of the texture come from": "纹理颜色的来源",
    "The picture for a model that makes colors alone, whose colors are coarse. The model's own colors for one that "
    "makes materials, whose colors are free of light": (
        "对于只生成颜色的模型使用图像，因为其颜色较粗糙；对于生成材质的模型使用模型自身的颜色，因为其中不含光照"
    ),
    "The light of the images stays in the colors. Automatic takes the model's, without it": (
        "图像的光照会留在颜色中。“自动”使用模型自身的颜色，不含光照"
    ),
    "Vertex Colors": "顶点色",
    "The vertex colors of the decoded mesh. Every model has them": "解码网格的顶点色。所有模型都有",
    "Picture": "图像",
    "The images themselves, where they show the object, and its vertex colors elsewhere": (
        "图像所示之处使用图像本身，其他部分使用顶点色"
    ),
    "Picture Strength": "图像强度",
    "How much of the images is painted onto the texture, if its source is the picture": (
        "纹理来源为图像时，将图像绘制到纹理上的程度"
    ),
    "Keep Shading": "保留明暗",
    "Leave the light and the shadows of the images in the texture, if its source is the picture": (
        "纹理来源为图像时，在纹理中保留图像的光照和阴影"
    ),
    "Gaussians": "高斯",
    "The 3D Gaussians around the surface. Sharper, but not every model has them": (
        "表面周围的 3D 高斯。更清晰，但并非所有模型都有"
    ),
    "Normal Map": "法线贴图",
    "Roughness": "糙度",
    "How rough the surface is. It is never metal: an image does not tell": (
        "表面的粗糙程度。绝不视为金属：图像无法判断"
    ),
    "Constant": "恒定",
    "The same roughness everywhere": "各处糙度相同",
    "Estimated": "估算",
    "By the highlights in the images, if the texture is painted from them. Where they show none, it is the constant": (
        "纹理由图像绘制时，根据图像中的高光估算。没有高光之处使用恒定值"
    ),
    "Bake the detail of the decoded mesh into a normal map, so that few faces look like many. Green is up, as in "
    "OpenGL": ("将解码网格的细节烘焙到法线贴图，使较少的面看起来细节丰富。绿色通道朝上，与 OpenGL 相同"),
    "Ambient Occlusion": "环境光遮蔽",
    "Bake an ambient occlusion map for game engines. It is part of exported glTF files and does not change renders": (
        "为游戏引擎烘焙环境光遮蔽贴图。导出的 glTF 文件会包含它，渲染结果不受影响"
    ),
    "Keep Raw": "保留原始网格",
    "Keep the mesh as it was decoded, with its vertex colors, as a second, hidden object": (
        "将解码得到的网格及其顶点色保留为另一个隐藏物体"
    ),
    "Low Memory": "低内存",
    "Keep each network in memory only while it is in use. Slower, with the same result": (
        "每个网络仅在使用时保留在内存中。速度较慢，结果相同"
    ),
    "Retry Time": "重试时间",
    "How many seconds to keep retrying when a shape does not match the image. 0 turns retries off": (
        "形状与图像不符时，持续重试的秒数。0 表示不重试"
    ),
    "Show Colors": "显示颜色",
    "When an object is ready, show textures where its button was pressed, unless other shading was chosen there": (
        "物体完成后，在按下按钮的视图中显示纹理，除非那里选择了其他着色方式"
    ),
    "Show Espalier": "显示 Espalier",
    "Open the sidebar with Espalier's tab": "打开侧栏中的 Espalier 选项卡",
    "Espalier is installed: its tab is open in the sidebar of the 3D viewport (N)": (
        "Espalier 已安装：其选项卡已在 3D 视图的侧栏中打开（N）"
    ),
    "Espalier is installed: press N in a 3D viewport and choose the tab Espalier": (
        "Espalier 已安装：请在 3D 视图中按 N 并选择 Espalier 选项卡"
    ),
    "Say what has become of a job": "说明任务的结果",
    "{name} is shown as wire, to see inside.": "{name} 现以线框显示，以便看到内部。",
    "{name} is ready.": "{name} 已完成。",
    "{name} is ready. Insert it from the Espalier tab of the sidebar.": (
        "{name} 已完成。请从侧栏的 Espalier 选项卡插入。"
    ),
    "{name} failed: {reason}": "{name} 失败：{reason}",
    "Show Texture": "显示纹理",
    "Switch this viewport's Solid shading between texture and material colors": (
        "在此视图的实体着色中切换纹理颜色和材质颜色"
    ),
    # the button
    "Generate 3D": "生成 3D",
    "Generate a textured mesh from the images, in the background": "在后台根据图像生成带纹理的网格",
    "Install the backend first": "请先安装后端",
    "Add an image first": "请先添加图像",
    "The model {name} is missing. Download it or choose another one": "缺少模型 {name}。请下载该模型或选择其他模型",
    "There is no active object to take the location from": "没有可供获取位置的活动物体",
    # candidates and the live preview
    "Explore": "探索",
    "Make candidates with different seeds, without finishing them, and choose among them": (
        "使用不同的随机种制作候选物体而不完成它们，再从中选择"
    ),
    "Make candidates in place of those that are there": "制作候选物体，取代现有的候选物体",
    "Make candidates with the images and settings of the active object and other seeds, beside it": (
        "使用活动物体的图像和设置以及其他随机种，在其旁边制作候选物体"
    ),
    "More": "更多",
    "Make further candidates beside those that are there": "在现有候选物体旁制作更多候选物体",
    "All Again": "全部重做",
    "Make candidates with other seeds in place of those that are there": (
        "使用其他随机种制作候选物体，取代现有的候选物体"
    ),
    "Candidates": "候选物体",
    "Number of candidates that Explore makes, each with its own seed": (
        "“探索”制作的候选物体数量，每个使用各自的随机种"
    ),
    "Candidate Views": "候选物体的视图",
    "Which images each candidate is made from": "每个候选物体根据哪些图像制作",
    "All Images": "所有图像",
    "Each candidate is made from all images": "每个候选物体根据所有图像制作",
    "One Each": "各用一张",
    "Each candidate is made from one image, in turn": "每个候选物体依次根据一张图像制作",
    "{n} candidates": "{n} 个候选物体",
    "Keys 1 to {n} over the viewport take one": "鼠标在视图上时，按 1 到 {n} 键选取一个",
    "Keys 1 to 9 and 0 over the viewport take one": "鼠标在视图上时，按 1 到 9 或 0 键选取一个",
    "{n} of {all} candidates": "{n}/{all} 个候选物体",
    "Take Candidate": "选取候选物体",
    "Finish this candidate, and put the others away. Shift-click to keep choosing": (
        "完成此候选物体并收起其他候选物体。按住 Shift 点击可继续选择"
    ),
    "The picture shows its shape and rough colors. Finishing paints the image on": (
        "图片显示其形状和大致颜色。完成时会绘制上参考图像"
    ),
    "Take All": "全部选取",
    "Finish all candidates that have not been taken yet": "完成所有尚未选取的候选物体",
    "Put Away": "收起",
    "Take none of the candidates that are left. They can be brought back": "不再选取剩余的候选物体。之后可以恢复它们",
    "Bring Back Candidates": "恢复候选物体",
    "Show the last candidates again, to take others of them": "再次显示上次的候选物体，以选取其中的其他物体",
    "Cancel Explore": "取消探索",
    "Make no more candidates. Those that are there stay": "不再制作候选物体。现有的候选物体保留",
    "Live": "实时",
    "Show a preview that follows the seed, the images and the other settings as they change": (
        "显示预览，随随机种、图像和其他设置的更改而更新"
    ),
    "Keep": "保留",
    "Finish the object of the live preview": "完成实时预览的物体",
    "The preview waits for the queue": "预览正在等待队列",
    # jobs
    "{n} jobs": "{n} 个任务",
    "Move Job": "移动任务",
    "Generate this object earlier or later than others in the queue": "在队列中提前或推后生成此物体",
    "Loading the model": "正在加载模型",
    "Preparing the image": "正在准备图像",
    "Analyzing the image": "正在分析图像",
    "Shape": "形状",
    "Detail": "细节",
    "Surface": "表面",
    "Starting": "正在启动",
    "Starting the backend": "正在启动后端",
    "Waiting": "等待中",
    "Canceling": "正在取消",
    "{time} left": "剩余 {time}",
    "Cancel": "取消",
    "Stop generating this object": "停止生成此物体",
    "Cancel All": "全部取消",
    "Stop generating all objects in the queue": "停止生成队列中的所有物体",
    "Try Again": "重试",
    "Generate this object again, and all others that failed for the same reason": (
        "再次生成此物体，以及所有因相同原因失败的物体"
    ),
    "{n} objects: {names}": "{n} 个物体：{names}",
    "Note": "提示",
    "The history has no files of the newest objects. Inserting them again means generating them.": (
        "历史记录没有最新物体的文件。再次插入它们意味着重新生成。"
    ),
    "It is generated again.": "将重新生成。",
    "Make the cut-outs again that could not be made": "重新抠图之前未能完成的图像",
    "Try Again with Less Memory": "以较少内存重试",
    "Try Another Seed": "尝试其他随机种",
    "Run Again": "再次运行",
    "Blender was closed before this job finished": "此任务完成之前 Blender 已关闭",
    "Insert": "插入",
    "Insert this object where it was meant to be. If that place is gone, insert it beside what is there": (
        "把物体插入原定位置。若该位置已不存在，则插入到已有物体旁边"
    ),
    "The object that it was made for was deleted": "它所要替换的物体已被删除",
    "The dropped image is the next object. For another view, turn off Replace at the bottom left": (
        "拖入的图像将作为下一个物体。若要添加另一视图，请在左下角关闭“替换”"
    ),
    "An object was generated": "已生成一个物体",
    "An object was made again in its place": "已在原位重新生成一个物体",
    "Show Guide as Wire": "以线框显示参考形状",
    "A guide is shown as wire": "参考形状以线框显示",
    "An object got a new texture": "一个物体获得了新纹理",
    "Generated for a file or scene that is no longer open": "生成此物体的文件或场景已不再打开",
    "Finished before Blender was closed": "在 Blender 关闭之前完成",
    "Finished before Blender was closed. It replaces {name}": "在 Blender 关闭之前完成，将替换 {name}",
    "Waiting for {what} to finish": "等待{what}结束",
    "Dismiss": "移除",
    "Remove this job from the list, and all others that failed for the same reason": (
        "从列表中移除此任务，以及所有因相同原因失败的任务"
    ),
    "Remove this sentence from the panel": "从面板中移除这句话",
    "Temporary Files...": "临时文件...",
    "Show where Blender keeps temporary files, in its own preferences": "在 Blender 的偏好设置中显示临时文件的位置",
    "Open Log": "打开日志",
    "Open Preferences": "打开偏好设置",
    "Open Espalier's preferences": "打开 Espalier 的偏好设置",
    "Add Espalier Preset": "添加 Espalier 预设",
    "Add or remove an Espalier preset": "添加或移除 Espalier 预设",
    "Apply Preset": "应用预设",
    "Use the settings of this preset": "使用此预设的设置",
    "Prop": "道具",
    "Game": "游戏",
    "Print": "打印",
    "Film": "影视",
    "For the background of a scene: 5,000 triangles, 1K texture, normal map": (
        "用于场景背景：5,000 个三角形、1K 纹理、法线贴图"
    ),
    "For game engines: 10,000 triangles, levels of detail, collision hulls, 2K texture, normal and occlusion maps": (
        "用于游戏引擎：10,000 个三角形、细节层次、碰撞外壳、2K 纹理、法线与遮蔽贴图"
    ),
    "For 3D printing: up to 200,000 triangles that hold all detail, 2K texture for color prints, no other maps": (
        "用于 3D 打印：最多 200,000 个三角形以保留全部细节、供彩色打印的 2K 纹理、无其他贴图"
    ),
    "For close-ups and further modeling: quads for 50,000 triangles, 4K texture, normal map, estimated roughness": (
        "用于特写和后续建模：相当于 50,000 个三角形的四边形、4K 纹理、法线贴图、估算的糙度"
    ),
    # selected objects and the history
    "History": "历史",
    "Regenerate with Panel Settings": "按面板设置重新生成",
    "Regenerate with New Seed": "用新随机种重新生成",
    "Again Inside Box": "在框内重新生成",
    "Generate the part of the object anew that the other selected object, a cube or an empty, encloses": (
        "重新生成物体中被另一个选中物体（立方体或空物体）包围的部分"
    ),
    "Select an object made with Espalier, and a cube or an empty around a part of it": (
        "请选择一个用 Espalier 制作的物体，以及包围其一部分的立方体或空物体"
    ),
    "Selected Object": "所选物体",
    "Seed {n}": "随机种 {n}",
    "and {n} more selected": "另外还选中 {n} 个",
    "Asset": "资产",
    "Image Cameras": "图像摄像机",
    "Favorite": "收藏",
    "Keep this result at the top of the history, also when older ones are dropped. Press again to undo this": (
        "让此结果留在历史顶部，即使较旧的结果被移除。再按一次取消"
    ),
    "There can be {n} favorites. Unmark another one first": "最多可收藏 {n} 个。请先取消另一个收藏",
    "Rename": "重命名",
    "Name": "名称",
    "Name of the result in the history": "结果在历史中的名称",
    "Type a name": "请输入名称",
    "Give this result another name. Objects that are inserted from it get this name": (
        "为此结果改名。由它插入的物体将使用该名称"
    ),
    "Load the images and settings of this result into the panel": "将此结果的图像和设置载入面板",
    "Removed {name}": "已移除 {name}",
    "Put Back": "放回",
    "Put the result that was removed last back into the history": "将最后移除的结果放回历史",
    "Generated objects are listed here": "生成的物体将列在此处",
    "Count": "数量",
    "Mode": "模式",
    "Which images, settings and seed to use": "使用哪些图像、设置和随机种",
    "Number of variants to generate": "要生成的变体数量",
    "Insert Again": "再次插入",
    "Texture the selected objects from the images in the panel. Their shape does not change": (
        "根据面板中的图像为所选物体生成纹理。形状保持不变"
    ),
    "Switch to Object Mode first": "请先切换到物体模式",
    "Made with Espalier, seed {seed}": "由 Espalier 生成，随机种 {seed}",
    "Generate the selected objects again in place. Name, transform, parent and modifiers are kept": (
        "原位重新生成所选物体。名称、变换、父级和修改器保持不变"
    ),
    "Generate variants of each selected object with new seeds, in a row beside it": (
        "用新随机种生成每个所选物体的变体，在其旁边排成一行"
    ),
    "Mark as Asset": "标记为资产",
    "Mark the selected objects as assets for the Asset Browser, with a preview": (
        "将所选物体标记为资产并生成预览图，供资产浏览器使用"
    ),
    "Export": "导出",
    "Export...": "导出...",
    "Save each selected object as a file for another program. The objects stay as they are": (
        "将每个所选物体保存为供其他程序使用的文件。物体保持不变"
    ),
    "Program": "程序",
    "The program that the files are for": "文件所供的程序",
    "Any Program": "任意程序",
    "No conventions of any program: green is up in normal maps": "不按任何程序的惯例：法线贴图中绿色朝上",
    "FBX in centimeters, green down in normal maps, textures named _BC, _N and _ORM": (
        "以厘米为单位的 FBX，法线贴图中绿色朝下，纹理名以 _BC、_N 和 _ORM 结尾"
    ),
    "FBX with no scale and no rotation left on the object, textures named as its Lit shader names them": (
        "物体上不留缩放和旋转的 FBX，纹理按 Unity 的 Lit 着色器命名"
    ),
    "glTF, which Godot recommends": "Godot 推荐的 glTF",
    "glTF with textures of at most 4096 pixels, which nearly every browser can show": (
        "glTF，纹理最多 4096 像素，几乎所有浏览器都能显示"
    ),
    "3D Print": "3D 打印",
    "The shape in millimeters, checked for printing": "以毫米为单位的形状，并检查是否适合打印",
    "Format": "格式",
    "The file format": "文件格式",
    "Best for the Program": "最适合该程序",
    "The format that fits the program best": "最适合该程序的格式",
    "One file with its textures, for the web and for engines": "含纹理的单个文件，供网页和引擎使用",
    "A simple format with its material and textures as files beside it": "简单的格式，材质和纹理为旁边的文件",
    "What Unreal Engine and Unity import, with its textures as files beside it": (
        "Unreal Engine 和 Unity 导入的格式，纹理为旁边的文件"
    ),
    "For film and layout, with its textures as files beside it": "供影视和布局使用，纹理为旁边的文件",
    "USD in one file with its textures, also for phones": "含纹理的单个 USD 文件，也可用于手机",
    "The shape alone, in millimeters, for 3D printing": "仅形状，以毫米为单位，供 3D 打印",
    "The shape and its colors, in millimeters, for 3D printing": "形状及其颜色，以毫米为单位，供 3D 打印",
    "Print Size": "打印尺寸",
    "Length of the longest side in files for 3D printing, in millimeters": "3D 打印文件中最长边的长度（毫米）",
    "At the Origin": "置于原点",
    "Put the object's origin at the origin of the file. Otherwise it stays where it is in the scene": (
        "将物体的原点置于文件的原点。否则保持其在场景中的位置"
    ),
    "Replace Files": "替换文件",
    "Compress the mesh in a .glb with Draco. Not every program can read it": (
        "用 Draco 压缩 .glb 中的网格。并非所有程序都能读取"
    ),
    "This Blender was built without Draco. Turn Draco off": "此 Blender 未包含 Draco，请关闭 Draco",
    "Replace files of the same names. Otherwise new files get a number": "替换同名文件。否则新文件会带编号",
    "Formats for {program}: {formats}": "适用于{program}的格式：{formats}",
    "Choose a folder": "请选择文件夹",
    "Exported: {files}": "已导出：{files}",
    "Save Textures": "保存纹理",
    "Save the packed textures of the selected objects in the folder textures beside the .blend, and use these files": (
        "将所选物体已打包的纹理保存到 .blend 旁边的 textures 文件夹，并使用这些文件"
    ),
    "Save the .blend file first": "请先保存 .blend 文件",
    "Select an object made with Espalier that has packed textures": "请选择由 Espalier 生成且纹理已打包的物体",
    "Saved: {files}": "已保存：{files}",
    "This Blender cannot write {format}: it was built without it, or its add-on is turned off": (
        "此 Blender 无法写入 {format}：构建时未包含它，或其插件已关闭"
    ),
    "{name} has no size": "{name} 没有尺寸",
    "{name} could not be written": "无法写入 {name}",
    "At {n} edges the mesh is not closed. A printing program may refuse it, or repair it": (
        "网格在 {n} 条边处未闭合。打印程序可能会拒绝或修补它"
    ),
    "Printed {size} mm large, {share} % of the surface has walls under {wall} mm, down to {thinnest} mm": (
        "以 {size} mm 打印时，{share} % 的表面壁厚不足 {wall} mm，最薄 {thinnest} mm"
    ),
    "Could not restore: {what}": "无法恢复：{what}",
    "Panel Settings": "面板设置",
    "Insert this result beside what is there. It is generated again if its files are gone": (
        "把此结果插入到已有物体旁边。若文件已不存在则重新生成"
    ),
    "Regenerate": "重新生成",
    "Remove from History": "从历史中移除",
    "Restore Settings": "恢复设置",
    "Retexture": "重新生成纹理",
    "Select a mesh with faces": "请选择有面的网格",
    "Load the images and settings of the active object into the panel": "将活动物体的图像和设置载入面板",
    "Remove this result from the history. Objects in the scene are kept, and the result can be put back": (
        "从历史中移除此结果。场景中的物体会保留，结果也可以放回"
    ),
    "Use the images and settings in the panel": "使用面板中的图像和设置",
    "Use the object's own images and settings, with a new seed": "使用该物体自身的图像和设置，并换用新的随机种",
    "Select an object made with Espalier": "请选择由 Espalier 生成的物体",
    # the first run
    "Installing the backend. You can keep working.": "正在安装后端。期间可以继续工作。",
    "This checkout has no environment for the backend. Run scripts/dev.py setup to create it.": (
        "此检出目录没有后端的环境。请运行 scripts/dev.py setup 来创建。"
    ),
    "One step left: install the backend, a separate program that does the computing.": (
        "还差一步：安装后端，即负责计算的独立程序。"
    ),
    "Install the Backend": "安装后端",
    "Install": "安装",
    "Update": "更新",
    "Repair": "修复",
    "Resume": "继续",
    "Install the backend, the program that does the computing, in the background": "在后台安装后端，即负责计算的程序",
    "Stop the installation. Downloaded data is kept, so that it can be resumed later": (
        "停止安装。已下载的数据会保留，之后可以继续安装"
    ),
    "Stop this operation. Downloaded data is kept, so that a download can be resumed later": (
        "停止此操作。已下载的数据会保留，之后可以继续下载"
    ),
    "Download": "下载",
    "Download this model and the models it needs. Size and license are shown first": (
        "下载此模型及其所需的模型。会先显示大小和许可证"
    ),
    "{name} is a demonstration model. It knows a dozen kinds of objects, such as chairs and houses.": (
        "{name} 是演示模型，只认识十几种物体，例如椅子和房屋。"
    ),
    "Hide Notice": "隐藏提示",
    "Hide this notice. The preferences can show it again": "隐藏此提示。可在偏好设置中重新显示",
    "Notice of the Demonstration Model": "演示模型提示",
    "Say in the panel that the bundled model is a demonstration, and offer to download TRELLIS": (
        "在面板中说明自带模型仅供演示，并提供下载 TRELLIS"
    ),
    "Download TRELLIS ({size})...": "下载 TRELLIS（{size}）...",
    "Turn on Allow Online Access in Preferences > System": "请在“偏好设置 > 系统”中启用“允许联机访问”",
    "Blender was started in offline mode. Start it without --offline-mode": (
        "Blender 以离线模式启动。请不带 --offline-mode 重新启动"
    ),
    "The backend is being installed": "正在安装后端",
    "The backend is being installed or removed": "正在安装或移除后端",
    # the computer, and how long it takes
    "About {time} for an object": "每个物体约 {time}",
    "{model}, default steps": "{model}，默认步数",
    "{model}, {n} steps": "{model}，{n} 步",
    "{time} for an object ({how}), measured here": "每个物体 {time}（{how}），在本机测得",
    "The first object measures how long one takes on this machine": "生成第一个物体时会测量本机所需的时间",
    "Network: {way}.": "网络：{way}。",
    "This computer: {what}.": "本机：{what}。",
    "processor with {n} cores": "{n} 核处理器",
    "processor with {n} cores, {memory} GB of memory, no graphics card that can be used": (
        "{n} 核处理器，{memory} GB 内存，没有可用的显卡"
    ),
    "TRELLIS fits this computer.": "本机可以运行 TRELLIS。",
    "TRELLIS fits this computer if Low Memory is turned on in the Advanced panel.": (
        "在“高级”面板中开启“低内存”后，本机可以运行 TRELLIS。"
    ),
    "The demonstration model fits this computer. TRELLIS takes minutes for each object without a graphics card.": (
        "本机适合演示模型。没有显卡时，TRELLIS 生成每个物体需要数分钟。"
    ),
    "The demonstration model fits this computer. TRELLIS needs more memory than there is.": (
        "本机适合演示模型。TRELLIS 需要的内存超过现有内存。"
    ),
    # the preferences, and what the installation and a job say
    "Python 3.11 with torch that runs the backend instead of the installed environment. If empty: the one in "
    "ESPALIER_PYTHON, else the installed environment, else that of the checkout": (
        "带有 torch 的 Python 3.11，用来代替已安装的环境运行后端。留空：使用 ESPALIER_PYTHON 指定的 Python，否则"
        "使用已安装的环境，再否则使用检出目录的环境"
    ),
    "Folder with torch's wheels, for an installation without a network. It must also hold uv's archive of Python "
    "3.11, unless a Python 3.11 is set": (
        "含有 torch 的 wheel 的文件夹，用于无网络安装。若未指定 Python 3.11，其中还必须有 uv 的 Python 3.11 归档"
    ),
    "A wheel does not match its recorded hash.": "有一个 wheel 与记录的哈希值不符。",
    "Accept and Download": "接受并下载",
    "Address of the package index for torch, such as a mirror. If empty: https://pypi.org/simple, and torch's "
    "own index for builds that are not there": (
        "torch 所用软件包索引的地址，例如镜像。留空：https://pypi.org/simple，其中没有的构建则取自 torch 自己的索引"
    ),
    "Backend": "后端",
    "Backend Python": "后端的 Python",
    "Check this model's files for damage": "检查此模型的文件是否损坏",
    "Delete": "删除",
    "Remove the backend's environment and its downloads. Models are kept": "移除后端的环境及其下载内容。模型会保留",
    "Delete this model's files": "删除此模型的文件",
    "Downloading torch": "正在下载 torch",
    "Stop the backend to free all of its memory. The next job starts it again": (
        "停止后端以释放其全部内存。下一个任务会重新启动它"
    ),
    "Failed: {why}": "失败：{why}",
    "Wheels Folder": "Wheel 文件夹",
    "Torch Build": "Torch 版本类型",
    "Which build of torch is installed. A change takes effect with the next installation or repair": (
        "安装哪一种 torch。更改在下次安装或修复时生效"
    ),
    "The best tested build for this computer": "适合此计算机的、经过测试的最佳版本",
    "NVIDIA (CUDA 13.0)": "NVIDIA（CUDA 13.0）",
    "Needs driver 580 and at least a GTX 16 or RTX 20": "需要 580 驱动，以及至少 GTX 16 或 RTX 20",
    "NVIDIA (CUDA 12.6)": "NVIDIA（CUDA 12.6）",
    "Needs driver 525 (Windows: 528), and no RTX 50": "需要 525 驱动（Windows：528），不支持 RTX 50",
    "AMD (ROCm 7.2, untested)": "AMD（ROCm 7.2，未测试）",
    "Linux only. It was never tried": "仅限 Linux。从未试过",
    "Intel (XPU, untested)": "Intel（XPU，未测试）",
    "It was never tried": "从未试过",
    "Processor": "处理器",
    "Works on every computer with Linux or Windows": "可在任何 Linux 或 Windows 计算机上运行",
    "The downloaded Python 3.11 is not the one that uv knows.": "下载的 Python 3.11 与 uv 所知的不一致。",
    "Install the Next Best": "安装次优版本",
    "The download did not say which wheels it brought.": "下载没有说明它带来了哪些 wheel。",
    "Free Memory": "释放内存",
    "Free Memory After": "多久后释放内存",
    "Free some disk space and try again.": "请腾出一些磁盘空间后重试。",
    "If another Blender is using the backend, close it and try again.": (
        "如果另一个 Blender 正在使用后端，请关闭它后重试。"
    ),
    "Free some disk space and try again. Downloaded data is kept.": "请腾出一些磁盘空间后重试。已下载的数据会保留。",
    "Preparing Python 3.11": "正在准备 Python 3.11",
    "Install Microsoft's Visual C++ Redistributable: https://aka.ms/vs/17/release/vc_redist.x64.exe": (
        "请安装 Microsoft Visual C++ 可再发行组件：https://aka.ms/vs/17/release/vc_redist.x64.exe"
    ),
    "Reinstall the extension.": "请重新安装此扩展。",
    "Installing and downloading need online access, which is turned off in Blender": (
        "安装和下载需要联机访问，而 Blender 中已关闭该功能"
    ),
    "Installing packages": "正在安装软件包",
    "Installing torch": "正在安装 torch",
    "License: {license}": "许可证：{license}",
    "Checking this computer": "正在检查这台计算机",
    "Creating the environment": "正在创建环境",
    "Minutes without a job after which the backend is stopped to free its memory. The next job starts it again, "
    "which takes a few seconds. 0 keeps it running": (
        "没有任务达到此分钟数后，停止后端以释放其内存。下一个任务会重新启动它，需要几秒钟。0 表示保持运行"
    ),
    "Models": "模型",
    "Models Folder": "模型文件夹",
    "Installer": "安装程序",
    "Show the settings of the backend's installation, for mirrors, offline machines and other Pythons": (
        "显示后端安装的设置：用于镜像源、离线计算机和其他 Python"
    ),
    "Now": "立即",
    "Not installed.": "未安装。",
    "Nothing to download. Needs {disk} of disk space ({free} free) and about {minutes} min.": (
        "无需下载。需要 {disk} 磁盘空间（可用 {free}），约 {minutes} 分钟。"
    ),
    "Package Index": "软件包索引",
    "Copy it there, or set Python 3.11 in the preferences.": "请将其复制到该文件夹，或在偏好设置中指定 Python 3.11。",
    "Python 3.11": "Python 3.11",
    "Python 3.11 could not be downloaded.": "无法下载 Python 3.11。",
    "Ready": "就绪",
    "Ready ({device})": "就绪（{device}）",
    "CPU": "CPU",
    "Apple GPU": "Apple GPU",
    "Remove": "移除",
    "Removing": "正在移除",
    "Install the backend to see the models": "安装后端后才会显示模型",
    "Python 3.11 to create the backend's environment with. If empty: one is downloaded (30 MB)": (
        "用来创建后端环境的 Python 3.11。留空：自动下载（30 MB）"
    ),
    "The backend is not running": "后端未在运行",
    "The backend's environment cannot be started.": "无法启动后端的环境。",
    "The Python it was created with is gone. Repair the backend.": "创建该环境所用的 Python 已不存在。请修复后端。",
    "The disk is full.": "磁盘已满。",
    "The disk is full: {reason}.": "磁盘已满：{reason}。",
    "The disk of the folder {folder} is full.": "文件夹 {folder} 所在的磁盘已满。",
    "The folder {folder} is on a disk that can only be read.": "文件夹 {folder} 位于只读磁盘上。",
    "The folder {folder} may not be written to.": "没有权限写入文件夹 {folder}。",
    "The folder {folder} does not exist.": "文件夹 {folder} 不存在。",
    "The file {file} lies where a folder should be.": "应为文件夹的位置上有文件 {file}。",
    "The disk of the folder {folder} cannot be reached: {reason}.": "无法访问文件夹 {folder} 所在的磁盘：{reason}。",
    "The file {file} is open in another program.": "文件 {file} 正在另一个程序中打开。",
    "A file could not be used: {reason}.": "无法使用文件：{reason}。",
    "Free some space and try again.": "请腾出一些空间后重试。",
    "Choose another folder, or make this one writable.": "请选择其他文件夹，或使此文件夹可写。",
    "Create it, or choose another folder.": "请创建它，或选择其他文件夹。",
    "Choose another folder, or give that file another name.": "请选择其他文件夹，或重命名该文件。",
    "Connect it and try again.": "请连接后重试。",
    "Close it there and try again.": "请在该程序中关闭它后重试。",
    "Check the folder and its permissions.": "请检查文件夹及其权限。",
    "Free some space there, or choose another folder: Preferences > File Paths > Temporary Files.": (
        "请在该处腾出空间，或选择其他文件夹：偏好设置 > 文件路径 > 临时文件。"
    ),
    "Objects are made in this folder. Free some space there, or make it writable, and try again.": (
        "物体在此文件夹中生成。请在该处腾出空间或使其可写，然后重试。"
    ),
    "Free some space there, or save the .blend file in another folder.": (
        "请在该处腾出空间，或将 .blend 文件保存到其他文件夹。"
    ),
    "The image {name} is no longer in this file": "图像 {name} 已不在此文件中",
    "The installation was interrupted.": "安装被中断。",
    "This is a checkout. Its own environment runs the backend.": "这是一个检出目录。后端由其自身的环境运行。",
    "This is a checkout. Run scripts/dev.py setup to create its environment": (
        "这是一个检出目录。请运行 scripts/dev.py setup 来创建其环境"
    ),
    "This version of the extension needs different packages.": "此版本的扩展需要不同的软件包。",
    "Testing the environment": "正在测试环境",
    "Compiling": "正在编译",
    "Unpacking uv": "正在解压 uv",
    "Verify": "校验",
    "Wait until all jobs have finished": "请等待所有任务完成",
    "Wait until the current model operation has finished": "请等待当前的模型操作完成",
    "Folder for downloaded models. All versions of Blender share it, and it is kept when the extension is "
    "removed. If empty: a folder in the user's application data": (
        "存放已下载模型的文件夹。所有版本的 Blender 共用，移除扩展后仍会保留。留空：用户应用数据中的一个文件夹"
    ),
    "bundled": "随附",
    "damaged: download it again": "已损坏：请重新下载",
    "downloaded": "已下载",
    "the image {name}": "图像 {name}",
    "the mesh already has the maximum number of UV maps": "该网格的 UV 贴图数量已达上限",
    "it does not say what images it was made from": "未记录它由哪些图像生成",
    "what it says of its images are no paths": "其图像记录不是路径",
    "What the object says of its cameras cannot be read": "无法读取该物体的相机信息",
    "its size is not a length": "其尺寸不是长度",
    "the mesh has changed since the job was started": "任务开始后该网格已被修改",
    "torch cannot be loaded: a Windows library is missing.": "无法加载 torch：缺少一个 Windows 库。",
    "torch did not report a device.": "torch 没有报告所用的设备。",
    "your own": "自有",
    "{download} to download. Needs {disk} of disk space ({free} free) and about {minutes} min at 5 MB/s.": (
        "需下载 {download}。需要 {disk} 磁盘空间（可用 {free}），按 5 MB/s 约 {minutes} 分钟。"
    ),
    "{free} free in {folder}": "{folder} 中可用 {free}",
    "{name} has no faces": "{name} 没有面",
    "{name} has no extent": "{name} 没有大小",
    "{box} does not enclose any part of {name}": "{box} 没有包围 {name} 的任何部分",
    "{name} was made anew in {n} boxes already, and no more can be remembered": (
        "{name} 已在 {n} 个框内重新生成过，无法再记住更多"
    ),
    "{name} was made by an earlier version. Regenerate it first": "{name} 由早期版本制作。请先重新生成",
    "what was made anew in boxes": "在框内重新生成的部分",
    "what it says of its guide is no guide": "其引导物数据不是引导物",
    "what it says of its boxes is no list of boxes": "其框数据不是框的列表",
    "{name} has no pixels. Its file may have been moved": "{name} 没有像素。其文件可能已被移动",
    "{needed} to download, {free} free in {folder}": "需下载 {needed}，{folder} 中可用 {free}",
    "{n} faces keep other materials.": "{n} 个面保留其他材质。",
    "All faces have the new material. The others are still in their slots.": (
        "所有面都使用新材质。其他材质仍在各自的槽中。"
    ),
    "Not kept: {what}. Undo brings them back.": "未保留：{what}。撤销可恢复。",
    "shape keys": "形态键",
    "more UV maps": "其他 UV 贴图",
    "color attributes": "颜色属性",
    "The vertex groups were kept, but {n} % of the surface is far from the old one. Check them.": (
        "顶点组已保留，但 {n} % 的表面离原表面较远。请检查。"
    ),
    "The weights of its vertex groups could not be kept: the old mesh had no faces.": (
        "无法保留顶点组的权重：原网格没有面。"
    ),
    "The weights of its vertex groups could not be kept: {reason}": "无法保留顶点组的权重：{reason}",
    "{n} faces were split along the seams of the texture.": "沿纹理接缝切分了 {n} 个面。",
    "The marked seams are now those of the new UVs; Undo brings yours back.": (
        "标记的缝合边现在属于新的 UV；撤销可恢复您的标记。"
    ),
    "{present} of {size} downloaded": "已下载 {present}（共 {size}）",
}
