//! The words that the shop is made of.

/// One department: its products are every style with every kind, as far as needed.
pub(super) struct Category {
    pub name: &'static str,
    /// First words of the names, with the factor they put on the price; the style is the position modulo [`super::STYLES`].
    pub looks: [(&'static str, f64); 8],
    /// Second words of the names, with the usual price.
    pub kinds: [(&'static str, f64); 12],
}

#[rustfmt::skip]
pub(super) const CATEGORIES: [Category; 12] = [
    Category {
        name: "Furniture",
        looks: [("Oak", 1.3), ("Pine", 0.8), ("Walnut", 1.6), ("Industrial", 1.1), ("Farmhouse", 1.2), ("Nordic", 1.0), ("Art Deco", 1.7), ("Steel", 1.0)],
        kinds: [("Bookshelf", 149.0), ("Coffee Table", 119.0), ("Desk", 229.0), ("Nightstand", 79.0), ("Dining Table", 399.0), ("Bar Stool", 69.0), ("Armchair", 289.0), ("Sideboard", 349.0), ("Bed Frame", 449.0), ("Shoe Rack", 49.0), ("Bench", 129.0), ("TV Stand", 169.0)],
    },
    Category {
        name: "Kitchen",
        looks: [("Copper", 1.6), ("Enamel", 0.9), ("Cast Iron", 1.2), ("Bamboo", 0.8), ("Stoneware", 1.1), ("Retro", 1.0), ("Stainless", 1.0), ("Glass", 0.7)],
        kinds: [("Saucepan", 39.0), ("Frying Pan", 45.0), ("Kettle", 49.0), ("Teapot", 34.0), ("Mixing Bowl", 19.0), ("Colander", 17.0), ("Storage Jar", 12.0), ("Cake Stand", 29.0), ("Baking Dish", 27.0), ("Spice Rack", 25.0), ("Salad Bowl", 24.0), ("Casserole", 79.0)],
    },
    Category {
        name: "Lighting",
        looks: [("Brass", 1.4), ("Rattan", 0.9), ("Concrete", 1.1), ("Paper", 0.6), ("Smoked Glass", 1.5), ("Linen", 1.0), ("Matte Black", 1.2), ("Ceramic", 1.0)],
        kinds: [("Table Lamp", 59.0), ("Floor Lamp", 119.0), ("Pendant", 89.0), ("Wall Light", 49.0), ("Desk Lamp", 54.0), ("Lantern", 29.0), ("Chandelier", 249.0), ("Night Light", 19.0), ("Reading Light", 39.0), ("Spotlight", 34.0), ("Fairy Lights", 15.0), ("Candle Holder", 14.0)],
    },
    Category {
        name: "Garden",
        looks: [("Teak", 1.5), ("Terracotta", 0.9), ("Galvanised", 1.0), ("Wicker", 1.1), ("Cedar", 1.3), ("Rustic", 0.9), ("Powder-Coated", 1.2), ("Recycled", 0.8)],
        kinds: [("Planter", 29.0), ("Watering Can", 24.0), ("Bird Feeder", 19.0), ("Trellis", 34.0), ("Garden Chair", 89.0), ("Fire Bowl", 129.0), ("Raised Bed", 79.0), ("Hose Reel", 49.0), ("Tool Box", 39.0), ("Sun Lounger", 179.0), ("Potting Bench", 149.0), ("Bird Bath", 59.0)],
    },
    Category {
        name: "Bedding",
        looks: [("Linen", 1.4), ("Flannel", 0.9), ("Silk", 2.2), ("Waffle", 1.0), ("Washed Cotton", 1.0), ("Quilted", 1.2), ("Satin", 1.3), ("Jersey", 0.8)],
        kinds: [("Duvet Cover", 69.0), ("Pillowcase", 19.0), ("Fitted Sheet", 34.0), ("Throw", 49.0), ("Bedspread", 89.0), ("Cushion", 24.0), ("Blanket", 59.0), ("Bathrobe", 64.0), ("Curtain", 54.0), ("Towel Set", 39.0), ("Eye Mask", 12.0), ("Bolster", 29.0)],
    },
    Category {
        name: "Toys",
        looks: [("Wooden", 1.2), ("Plush", 0.8), ("Magnetic", 1.1), ("Pirate", 1.0), ("Forest", 1.1), ("Dinosaur", 0.9), ("Space", 1.0), ("Circus", 1.0)],
        kinds: [("Puzzle", 16.0), ("Building Blocks", 34.0), ("Train Set", 59.0), ("Memory Game", 14.0), ("Play Tent", 69.0), ("Stacking Tower", 18.0), ("Hand Puppet", 15.0), ("Music Box", 22.0), ("Rocking Horse", 99.0), ("Doll House", 119.0), ("Kite", 19.0), ("Marble Run", 44.0)],
    },
    Category {
        name: "Sport",
        looks: [("Carbon", 2.0), ("Cork", 0.9), ("Trail", 1.2), ("Court", 1.0), ("Alpine", 1.5), ("Studio", 0.9), ("Marathon", 1.1), ("Club", 1.0)],
        kinds: [("Backpack", 79.0), ("Water Bottle", 19.0), ("Mat", 39.0), ("Jacket", 119.0), ("Shoes", 109.0), ("Gloves", 29.0), ("Headlamp", 45.0), ("Jump Rope", 14.0), ("Socks", 12.0), ("Cap", 22.0), ("Duffel Bag", 64.0), ("Foam Roller", 27.0)],
    },
    Category {
        name: "Audio",
        looks: [("Wireless", 1.2), ("Vintage", 1.1), ("Studio", 1.8), ("Pocket", 0.6), ("Over-Ear", 1.2), ("Walnut", 1.4), ("Hi-Fi", 1.9), ("Waterproof", 0.8)],
        kinds: [("Headphones", 129.0), ("Speaker", 99.0), ("Radio", 69.0), ("Turntable", 229.0), ("Microphone", 89.0), ("Soundbar", 179.0), ("Amplifier", 249.0), ("Earphones", 49.0), ("Receiver", 299.0), ("Recorder", 79.0), ("Record Case", 34.0), ("Headphone Stand", 24.0)],
    },
    Category {
        name: "Clothing",
        looks: [("Merino", 1.5), ("Denim", 1.0), ("Cashmere", 2.4), ("Organic", 0.9), ("Tweed", 1.4), ("Striped", 0.9), ("Silk", 1.9), ("Corduroy", 1.1)],
        kinds: [("Sweater", 69.0), ("Shirt", 49.0), ("Scarf", 29.0), ("Trousers", 64.0), ("Jacket", 109.0), ("Skirt", 44.0), ("Beanie", 19.0), ("Cardigan", 74.0), ("Dress", 79.0), ("Waistcoat", 59.0), ("Overshirt", 69.0), ("Gloves", 24.0)],
    },
    Category {
        name: "Beauty",
        looks: [("Lavender", 1.0), ("Aloe", 0.8), ("Rose", 1.3), ("Charcoal", 0.9), ("Chamomile", 1.0), ("Cucumber", 0.8), ("Jasmine", 1.4), ("Cedarwood", 1.1)],
        kinds: [("Soap", 7.0), ("Hand Cream", 12.0), ("Face Mask", 9.0), ("Shampoo", 11.0), ("Body Oil", 19.0), ("Bath Salts", 14.0), ("Lip Balm", 5.0), ("Toner", 16.0), ("Scented Candle", 24.0), ("Face Serum", 29.0), ("Body Scrub", 17.0), ("Perfume", 59.0)],
    },
    Category {
        name: "Stationery",
        looks: [("Leather", 1.8), ("Dotted", 0.8), ("Marbled", 1.2), ("Minimal", 0.9), ("Letterpress", 1.4), ("Kraft", 0.7), ("Botanical", 1.1), ("Brass", 1.6)],
        kinds: [("Notebook", 14.0), ("Fountain Pen", 49.0), ("Planner", 24.0), ("Pencil Case", 19.0), ("Letter Set", 16.0), ("Desk Organiser", 34.0), ("Calendar", 17.0), ("Sketchbook", 18.0), ("Card Holder", 22.0), ("Ruler", 9.0), ("Photo Album", 29.0), ("Bookmark", 6.0)],
    },
    Category {
        name: "Pets",
        looks: [("Cosy", 1.0), ("Rope", 0.7), ("Nordic", 1.2), ("Outdoor", 1.0), ("Woollen", 1.2), ("Natural", 0.9), ("Ceramic", 1.1), ("Reflective", 0.9)],
        kinds: [("Dog Bed", 69.0), ("Cat Tree", 99.0), ("Collar", 17.0), ("Lead", 19.0), ("Food Bowl", 15.0), ("Chew Toy", 9.0), ("Carrier", 54.0), ("Blanket", 24.0), ("Treat Jar", 18.0), ("Scratching Post", 39.0), ("Grooming Brush", 14.0), ("Coat", 34.0)],
    },
];

#[rustfmt::skip]
pub(super) const FIRST_NAMES: [&str; 48] = [
    "Ada", "Aisha", "Alma", "Amir", "Anna", "Arthur", "Bea", "Carlos", "Chloe", "Clara", "Daniel", "Diego", "Elena", "Elif", "Emil", "Emma",
    "Felix", "Finn", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jakub", "Jonas", "Julia", "Kenji", "Lars", "Laura", "Lena", "Leo", "Lucia",
    "Maja", "Marco", "Maria", "Mei", "Mila", "Nadia", "Noah", "Olga", "Omar", "Oscar", "Paula", "Priya", "Rosa", "Sara", "Tom", "Yuki",
];

#[rustfmt::skip]
pub(super) const LAST_NAMES: [&str; 48] = [
    "Adams", "Almeida", "Andersen", "Bauer", "Becker", "Bianchi", "Brown", "Carter", "Castro", "Chen", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Greco",
    "Haas", "Hansen", "Ito", "Ivanov", "Jansen", "Kaya", "Keller", "Khan", "Kim", "Kowalski", "Larsen", "Lopez", "Martin", "Meyer", "Moreau", "Murphy",
    "Nagy", "Novak", "Okafor", "Patel", "Petrov", "Reyes", "Ricci", "Rossi", "Sato", "Silva", "Singh", "Smith", "Torres", "Walker", "Weber", "Wright",
];

#[rustfmt::skip]
pub(super) const CITIES: [&str; 16] = [
    "Amsterdam", "Barcelona", "Berlin", "Copenhagen", "Dublin", "Hamburg", "Lisbon", "London",
    "Lyon", "Madrid", "Milan", "Munich", "Paris", "Prague", "Vienna", "Warsaw",
];
